"""Samples with several inputs: tokens among them are not quantities, and what can't be had is refused by name.

The law: what tokens are called (their numbers) changes no figure, if what the client sends stays the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.several_inputs import KINDS, OneText, arrays
from torch import Tensor

import sglr
from sglr.core.data import Inputs, Samples
from sglr.core.errors import UsageError
from sglr.core.registry import ATTACKS
from sglr.leakage.callback import watch_client
from sglr.leakage.leak import leak
from sglr.leakage.measure_clients import MEASURES, Wanted, measure_client
from sglr.leakage.open_run import open_run
from sglr.parties.defences import parse
from sglr.privacy.measures.distance_correlation import distance_correlation
from sglr.privacy.target import Target
from sglr.splitting.input_layout import InputLayout, read_layout

MODEL = "tests.several_inputs:PictureAndRow"
LAYOUT = read_layout("image:1,8,8+kinds:2:int64+age:")
SETTINGS: dict[str, Any] = {"clients": 2, "epochs": 1, "threads": 1}


def _file(path: Path, inputs: Any, targets: Any) -> str:
    np.savez(path, y=targets, **{f"x.{name}": each for name, each in inputs.items()})
    return f"arrays:{path}"


@pytest.fixture(scope="module")
def run(once: Callable[[str, Callable[[Path], object]], Path], tmp_path_factory: pytest.TempPathFactory) -> sglr.Run:
    data = _file(tmp_path_factory.mktemp("data") / "rows.npz", *arrays(900))
    path = once("three-inputs", lambda path: sglr.train("sfl", dataset=data, model=MODEL, out=path, **SETTINGS))
    return sglr.Run.open(path)


@pytest.fixture(scope="module")
def target(run: sglr.Run) -> Target:
    return open_run(run).target(0)


def _renumbered(rows: Inputs) -> Tensor:
    """Return rows whose tokens have other numbers."""
    values = LAYOUT.unpack(rows[:])
    values["kinds"] = (values["kinds"] * 1009 + 31) % 5003
    return LAYOUT.pack(values)


def _called_otherwise(target: Target) -> Target:
    """Return a target whose tokens have other numbers, and that sends the same."""
    known = {number * 1009 + 31: number for number in range(KINDS)}

    def named(rows: Tensor) -> Tensor:
        values = LAYOUT.unpack(rows)
        values["kinds"] = torch.tensor([[known[int(each)] for each in row] for row in values["kinds"]])
        return LAYOUT.pack(values)

    def of(samples: Samples) -> Samples:
        return Samples(_renumbered(samples.inputs), samples.targets)

    parts = {name: of(getattr(target, name)) for name in ("own", "auxiliary", "unseen")}
    gradients = target.gradients
    return dataclasses.replace(
        target,
        send=lambda rows: target.send(named(rows[:])),
        gradients=lambda samples: gradients(Samples(named(samples.tensor), samples.targets)),
        **parts,
    )


def test_no_figure_depends_on_what_tokens_are_called(target: Target) -> None:
    wanted = Wanted(tuple(name for name in MEASURES if name != "reconstruction"))
    found, other = (measure_client(each, wanted) for each in (target, _called_otherwise(target)))
    assert found.missing == {} and found.figures == other.figures
    assert found.figures["distance_correlation"].estimator.endswith("of the inputs age, image")


def test_nor_does_what_is_measured_while_training(target: Target) -> None:
    found = watch_client(target, 256)
    assert {"distance_correlation", "explained", "mutual_information"} <= set(found)
    assert found == watch_client(_called_otherwise(target), 256)


def test_the_picture_among_several_inputs_is_reconstructed(target: Target) -> None:
    found = measure_client(target, Wanted(("reconstruction",)))
    assert found.missing.keys() <= {"reconstruction.ssim"}
    assert found.pictures["originals"].shape[1:] == found.pictures["decoder"].shape[1:] == (1, 8, 8)
    decoder = ATTACKS.load("decoder")(samples=16, auxiliary=64, steps=4)
    seen = dataclasses.replace(target, attacker="server", seen=decoder.needs)
    result = decoder(seen)
    rows = LAYOUT.unpack(target.own.tensor)["image"]
    assert any(torch.allclose(result.pictures["originals"][0], (image + 1) / 2) for image in rows.clamp(-1, 1))


@pytest.mark.parametrize("name", ["white-box", "unsplit", "gradient-inversion"])
def test_attacks_that_recover_whole_samples_are_refused_by_the_names_of_inputs(name: str, target: Target) -> None:
    attack = ATTACKS.load(name)()
    with pytest.raises(UsageError, match=r"age, image, kinds: .*each has several inputs"):
        attack(dataclasses.replace(target, attacker=attack.attacker, seen=attack.needs))


def test_where_all_inputs_are_tokens_measures_of_inputs_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = {"first": rng.integers(0, KINDS, (90, 3)), "second": rng.integers(0, KINDS, (90, 3))}
    data = _file(tmp_path / "texts.npz", texts, rng.integers(0, 2, 90))
    settings = {**SETTINGS, "dataset": data, "model": "tests.several_inputs:Looped"}
    run = sglr.train("sfl", out=tmp_path / "run", **settings)
    found = measure_client(open_run(run).target(0), Wanted())
    assert all("numbers of tokens have none" in found.missing[name] for name in MEASURES[:3])
    with pytest.raises(UsageError, match=r"measures = mutual_information: .*numbers of tokens have none"):
        leak(run, measures=("mutual_information",))
    with pytest.raises(UsageError, match=r"defence = nopeek: .*numbers of tokens have none"):
        sglr.train("sfl", out=tmp_path / "other", defence="nopeek", **settings)


def test_one_input_of_tokens_is_not_compared_either(tmp_path: Path) -> None:
    tokens, targets = torch.randint(KINDS, (60, 3)), torch.arange(60) % 2
    with pytest.raises(UsageError, match=r"defence = nopeek: .*numbers of tokens have none"):
        sglr.train("sfl", dataset=(tokens, targets), model=OneText(), cut="embed", defence="nopeek", **SETTINGS)


def test_nopeek_compares_what_has_distances() -> None:
    rows, smashed = LAYOUT.drawn(12, 0, tokens=KINDS), torch.randn(12, 5)
    chain = parse("nopeek:weight=0.5").of_inputs(LAYOUT)
    leaf = smashed.clone().requires_grad_()
    told = LAYOUT.unpack(rows)
    compared = torch.cat([told["image"].flatten(1), told["age"][:, None]], 1)
    (wanted,) = torch.autograd.grad(0.5 * distance_correlation(compared, leaf), leaf)
    assert torch.allclose(chain.extra_gradient(rows[None], smashed[None])[0], wanted, atol=1e-6)
    values = {**told, "kinds": told["kinds"] * 100}
    again = chain.extra_gradient(LAYOUT.pack(values)[None], smashed[None])
    assert torch.equal(chain.extra_gradient(rows[None], smashed[None]), again)


@pytest.mark.parametrize(
    ("text", "quantities", "picture"),
    [
        ("image:1,8,8+kinds:2:int64+age:", ("age", "image"), "image"),
        ("first:3:int64+second:3:int64", (), None),
        ("left:1,4,4+right:1,4,4", ("left", "right"), None),
        ("ids:3:int64+seen:3:bool", ("seen",), None),
    ],
)
def test_a_layout_tells_its_quantities(text: str, quantities: tuple[str, ...], picture: str | None) -> None:
    layout = read_layout(text)
    assert layout.quantities == quantities and layout.picture == picture
    rows = layout.drawn(3, 0, tokens=9)
    told = layout.unpack(rows)
    wanted = torch.cat([rows[:, :0], *(told[name].reshape(3, -1).to(rows.dtype) for name in quantities)], 1)
    assert torch.equal(layout.of_quantities(rows), wanted)
    assert InputLayout.of({"inputs": layout.described()}) == layout
