"""What a model may be: recurrent, lazy, of tokens, of odd types; what can't be trained is refused with a remedy."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import CLASSES, INPUTS, covering
from torch import Tensor, nn

import sglr
from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError

TINY: dict[str, Any] = {"clients": 3, "batch_size": 8, "epochs": 1, "threads": 1, "lr": 0.01, "method": "psl"}
WORDS, LENGTH = 12, 5


def numbers() -> Dataset:
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randn(68, INPUTS, generator=rng)
    targets = inputs[:, :CLASSES].argmax(1)
    return Dataset("numbers", Samples(inputs[:48], targets[:48]), Samples(inputs[48:], targets[48:]), tuple("abc"))


def tokens() -> Dataset:
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randint(WORDS, (320, LENGTH), generator=rng)
    targets = inputs[:, 0] % CLASSES
    return Dataset("tokens", Samples(inputs[:300], targets[:300]), Samples(inputs[300:], targets[300:]), tuple("abc"))


def train(model: Any, out: Path, **settings: Any) -> sglr.Run:
    return sglr.train(**{"model": model, "dataset": numbers(), "out": out, "cut": 1, **TINY, **settings})


def refused(model: Any, tmp_path: Path, **settings: Any) -> UsageError:
    """Train; return the error, before which nothing may have been written."""
    with pytest.raises(UsageError) as caught:
        train(model, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()
    assert "\n" not in str(caught.value)
    return caught.value


# Layers that can't be stacked.


class Recurrent(nn.Module):
    """The last state of a GRU over single values."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(1, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x[..., None])
        last: Tensor = states[:, -1]
        return last


def below() -> nn.Module:
    return nn.Sequential(Recurrent(), nn.Linear(6, CLASSES))


def above() -> nn.Module:
    return nn.Sequential(nn.Linear(INPUTS, INPUTS), Recurrent(), nn.Linear(6, CLASSES))


@pytest.mark.parametrize("form", ["stacked", "matmul"])
def test_what_cannot_be_stacked_is_refused_if_it_shall_be(form: str, tmp_path: Path) -> None:
    error = refused(below(), tmp_path, stacking=form)
    assert (error.field, error.value) == ("stacking", form)
    assert "the clients' segment can't be stacked" in error.problem
    assert "auto" in error.remedy
    assert "the server's segment can't be stacked" in str(refused(above(), tmp_path, stacking=form, method="sflv1"))
    assert "the clients' segment" in str(refused(below(), tmp_path, stacking=form, engine="ray"))


def test_what_cannot_be_stacked_is_looped_and_this_is_said(tmp_path: Path, caplog) -> None:
    weights = {}
    for form in ("auto", "looped"):
        torch.manual_seed(0)
        weights[form] = train(below(), tmp_path / form, stacking=form).summary["weights_sha256"]
    assert weights["auto"] == weights["looped"]
    assert "one after another" in caplog.text
    caplog.clear()
    train(above(), tmp_path / "copies", method="sflv1")
    assert "the server's segment can't be stacked" in caplog.text


# Lazy layers.


def lazy(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    del input_shape
    return nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.Tanh(), nn.LazyLinear(classes))


def told(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(*input_shape, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, classes))


def test_lazy_layers_take_their_shapes_from_a_sample(tmp_path: Path) -> None:
    """They end with the weights of a model whose shapes are written out: the draws are the same."""
    settings = {"cut": 3, "init": "independent"}
    written, found = (
        train(model, tmp_path / model.__name__, **settings).summary["weights_sha256"] for model in (told, lazy)
    )
    assert written == found
    run = train(lazy((INPUTS,), CLASSES), tmp_path / "module", cut=3)
    loaded = sglr.load_model(run.path, model=lazy((INPUTS,), CLASSES), dataset=numbers())
    assert loaded(torch.zeros(2, INPUTS)).shape == (2, CLASSES)


# Tokens.


def reader(input_shape: tuple[int, ...] = (LENGTH,), classes: int = CLASSES) -> nn.Module:
    first = (nn.Embedding(WORDS, 4), nn.Flatten())
    return nn.Sequential(*first, nn.Linear(4 * input_shape[0], 8), nn.Tanh(), nn.Linear(8, classes))


@covering(method=["sglr", "sfl", "fl"], stacking=["stacked", "looped"])
def test_tokens(method: str, stacking: str, tmp_path: Path) -> None:
    settings = {"cut": 4, "dataset": tokens(), "method": method, "stacking": stacking, "epochs": 10, "lr": 0.03}
    run = train(reader, tmp_path / "run", **settings)
    assert run.summary["test"]["accuracy"] > 0.6
    assert "problem" not in run.summary["computation"]
    loaded = sglr.load_model(run.path, model=reader, dataset=tokens())
    with pytest.raises(UsageError, match=r"lable: no such option of the data set; did you mean .label"):
        sglr.load_model(run.path, model=reader, lable="a")
    assert loaded(tokens().test.inputs).shape == (20, CLASSES)


PLUGIN = """
import torch
from dataclasses import dataclass
from torch import nn
from sglr.core.data import Dataset, Samples

@dataclass(frozen=True)
class Tokens:
    "Sequences of tokens."

    def load(self, data_dir):
        rng = torch.Generator().manual_seed(0)
        inputs = torch.randint(12, (68, 5), generator=rng)
        targets = inputs[:, 0] % 3
        return Dataset("tokens", Samples(inputs[:48], targets[:48]), Samples(inputs[48:], targets[48:]), tuple("abc"))

def reader(input_shape, classes):
    first = (nn.Embedding(12, 4), nn.Flatten())
    model = nn.Sequential(*first, nn.Linear(4 * input_shape[0], 8), nn.Tanh(), nn.Linear(8, classes))
    model[0].weight.requires_grad_(False)
    return model
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "remote"])
def test_tokens_and_frozen_embeddings_on_every_engine(engine: str, tmp_path: Path) -> None:
    """The data set is a part of another package, as it would be at sites."""
    package = tmp_path / "package"
    (package / "reading-1.dist-info").mkdir(parents=True)
    (package / "reading.py").write_text(PLUGIN)
    (package / "reading-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: reading\nVersion: 1\n")
    (package / "reading-1.dist-info" / "entry_points.txt").write_text("[sglr.data.datasets]\ntokens = reading:Tokens\n")
    found = {name: story(package, name, tmp_path / name) for name in ("local", engine)}
    assert found["local"]["test"] == pytest.approx(found[engine]["test"], abs=1e-6)
    assert found["local"]["communication"]["up_bytes"] == found[engine]["communication"]["up_bytes"]


def story(package: Path, engine: str, out: Path) -> dict[str, Any]:
    """Train from the command line; return the summary."""
    parts = ["--dataset=tokens", "--model=reading:reader", "--method=sfl", "--cut=4", "--stacking=looped"]
    numbers = ["--clients=3", "--batch-size=8", "--epochs=2", "--threads=1"]
    command = [sys.executable, "-m", "sglr", "train", *parts, *numbers, f"--engine={engine}", f"--out={out}", "--quiet"]
    paths = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": paths})
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return {**summary, "test": {name: summary["test"][name] for name in ("accuracy", "loss")}}


# Types and values of weights.


def chain(first: nn.Module, *rest: nn.Module) -> nn.Module:
    return nn.Sequential(first, nn.Tanh(), *rest, nn.Linear(8, CLASSES))


class Quantized(nn.Module):
    """A linear layer whose matrix is kept in eight bits."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randint(-9, 9, (8, INPUTS), dtype=torch.int8), requires_grad=False)
        self.scale = nn.Parameter(torch.full((8,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.matrix.to(x.dtype) * self.scale[:, None]).T


@covering(stacking=["stacked", "looped"], place=["client", "server"])
def test_weights_of_whole_numbers_are_frozen(stacking: str, place: str, tmp_path: Path) -> None:
    layer = Quantized()
    model = chain(layer) if place == "client" else nn.Sequential(nn.Linear(INPUTS, INPUTS), *chain(layer))
    run = train(model, tmp_path / "run", stacking=stacking)
    loaded = sglr.load_model(run.path, model=model, dataset=numbers())
    (kept,) = [weight for weight in loaded.parameters() if weight.dtype == torch.int8]
    assert torch.equal(kept, layer.matrix)


def with_value(value: float) -> nn.Module:
    model = chain(nn.Linear(INPUTS, 8))
    with torch.no_grad():
        model[2].weight[1, 2] = value
    return model


class Spectrum(nn.Module):
    """A product in the frequency domain, with complex weights."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(3, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x) * self.filter, INPUTS)


class Gives(nn.Module):
    """A linear layer, and what becomes of its output."""

    def __init__(self, becomes: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.becomes = nn.Linear(INPUTS, 8), becomes

    def forward(self, x: Tensor) -> Any:
        return self.becomes(self.linear(x))


def as_pair(x: Tensor) -> Any:
    return x, x


def as_dict(x: Tensor) -> Any:
    return {"logits": x}


def fails(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    raise ValueError(f"no model of {input_shape} and {classes}")


def test_a_module_in_half_precision_is_refused(tmp_path: Path) -> None:
    for kind in (torch.float64, torch.float16, torch.bfloat16):
        error = refused(chain(nn.Linear(INPUTS, 8)).to(kind), tmp_path)
        assert "model.float()" in error.remedy


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (with_value(float("nan")), r"2\.weight: 1 of the 24 values of this weight are not finite"),
        (with_value(float("inf")), r"2\.weight: 1 of the 24 values"),
        (nn.Sequential(Spectrum(), nn.Linear(INPUTS, CLASSES)), r"0\.filter: this weight is complex"),
        (nn.Sequential(Gives(torch.fft.fft), nn.Linear(8, CLASSES)), "what crosses the cut is complex64"),
        (nn.Sequential(Gives(as_pair), nn.Linear(8, CLASSES)), "must be Tensor, not tuple"),
        (nn.Sequential(nn.Linear(INPUTS, INPUTS), Gives(as_pair)), r"with 2 tensors \(0, 1\): which is its output"),
        (nn.Sequential(nn.Linear(INPUTS, INPUTS), Gives(as_dict)), r"output has shape \[2, 8\], not \[2, 3\]"),
        (nn.Sequential(Gives(lambda x: x.argmax(1)), nn.Linear(8, CLASSES)), "what crosses the cut is int64"),
        (nn.Sequential(nn.Linear(INPUTS, 8), nn.Linear(8, CLASSES + 1)), r"output has shape \[2, 4\], not \[2, 3\]"),
        (nn.Sequential(nn.Linear(INPUTS, 8), nn.Unflatten(1, (2, 4))), r"output has shape \[2, 2, 4\]"),
        (nn.Sequential(nn.Linear(INPUTS + 1, 8), nn.Linear(8, CLASSES)), r"does not take one input of shape \[4\]"),
        (nn.Sequential(nn.Flatten(), nn.Tanh()), "nothing to train: it has no weights"),
        (chain(nn.Linear(INPUTS, 8)).to("meta"), "have no values"),
        (nn.Sequential(nn.LazyLinear(8), nn.Linear(9, CLASSES)), "lazy layers"),
        (fails, r"the function raised ValueError: no model of \(4,\) and 3"),
        (lambda input_shape, classes: None, "the function returned a NoneType"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_model_that_cannot_be_trained_is_refused(model: Any, said: str, tmp_path: Path) -> None:
    error = refused(model, tmp_path)
    assert re.search(said, str(error)), str(error)


def test_a_model_that_cannot_be_copied_is_refused(tmp_path: Path) -> None:
    model = chain(nn.Linear(INPUTS, 8))
    model.kept = model[0](torch.zeros(1, INPUTS))  # part of a graph
    assert "cannot be copied" in str(refused(model, tmp_path))


# Buffers.


class Positions(nn.Module):
    """Adds a vector for each place, which is looked up by numbers that a checkpoint need not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("places", torch.arange(INPUTS), persistent=False)
        self.table = nn.Embedding(INPUTS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table(self.places)[:, 0]


@covering(method=["sfl", "sflv1", "fl"], place=["client", "server"])
def test_buffers_that_are_not_persistent(method: str, place: str, tmp_path: Path) -> None:
    layers = [Positions(), nn.Linear(INPUTS, INPUTS)]
    model = nn.Sequential(*(layers if place == "client" else reversed(layers)), nn.Tanh(), nn.Linear(INPUTS, CLASSES))
    run = train(model, tmp_path / "run", method=method)
    loaded = sglr.load_model(run.path, model=model, dataset=numbers())
    correct = (loaded(numbers().test.inputs).argmax(1) == numbers().test.targets).double().mean()
    assert float(correct) == pytest.approx(run.summary["test"]["accuracy"])
