"""Several values cross between sites, and masks and numbers beside them: as in one process, and refused if wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sglr
from sglr.parties.packed_codec import BESIDE
from sglr.sites.client_weights import WeightSource
from sglr.sites.connect import SiteOptions

from .attacker import Act, Line
from .federation import Federation, local_twin
from .serving import serving
from .test_hostile import BASE, are_quarantined, attacked

MODEL = "tests.several_values:Skips"
NOISY = {"compression": "int8:feedback=true", "defence": "clip:norm=5+noise:sigma=0.2"}

CASES = [
    pytest.param({"method": "sglr", **NOISY}, id="codec and defences"),
    pytest.param({"method": "cyclesl", "partition": "dirichlet"}, id="as it is", marks=pytest.mark.slow),
    pytest.param({"method": "psl", "tail": "join"}, id="tail", marks=pytest.mark.slow),
    pytest.param({"method": "cse-fsl", "h": 1, "compression": "topk:0.3"}, id="head", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("case", CASES)
def test_law_2_between_sites(case: dict[str, Any], tmp_path: Path) -> None:
    told = {"model": MODEL, **case}
    federation = Federation(tmp_path, told)
    remote, local = federation.train(), local_twin(told, tmp_path / "local")
    assert federation.problems == []
    assert remote.summary is not None
    assert local.summary is not None
    assert remote.summary["communication"] == local.summary["communication"]
    samples = remote.history[-1]["samples"]
    assert remote.summary["communication"]["by_kind"]["up"]["beside"] == samples * 2 * 64 * 4
    assert remote.summary["test"]["loss"] == pytest.approx(local.summary["test"]["loss"], abs=1e-4)
    exact = "tail" not in case and case["method"] != "cse-fsl"
    assert not exact or remote.summary["weights_sha256"] == local.summary["weights_sha256"]


def sends(change: Any) -> Act:
    """Answer the first request for smashed data with something changed in what is beside them."""

    async def act(line: Line) -> None:
        await line.hello()
        frame = await line.asked("forward")
        parts = {"0.values": torch.zeros(8, 16, 4, 4), "1.values": torch.zeros(8, 16, 8, 8)}
        parts |= {BESIDE: torch.zeros(8, 128, dtype=torch.int32), "labels": torch.zeros(8, dtype=torch.int64)}
        change(parts)
        await line.send("smashed", parts, seq=frame.envelope.seq)

    return act


def puts(value: int) -> Any:
    def change(parts: dict[str, Tensor]) -> None:
        parts[BESIDE][3, :] = value

    return change


WRONG: dict[str, tuple[Act, str]] = {
    "no row of the table": (sends(puts(16)), "is outside 0 to"),
    "negative": (sends(puts(-1)), "is outside 0 to"),
    "large": (sends(puts(2**31 - 1)), "is outside 0 to"),
    "missing": (sends(lambda parts: parts.pop(BESIDE)), "missing 'beside'"),
    "type": (sends(lambda parts: parts.update({BESIDE: parts[BESIDE].long()})), "expected torch.int32"),
    "shape": (sends(lambda parts: parts.update({BESIDE: parts[BESIDE][:, 1:]})), "expected torch.int32"),
}


def test_what_is_beside_is_checked_and_harms_nobody_else(tmp_path: Path) -> None:
    acts = [act for act, _ in WRONG.values()]
    federation, gang = attacked(tmp_path, acts, **{**BASE, "model": MODEL})
    are_quarantined(federation, gang, {name: reason for name, (_, reason) in WRONG.items()})


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"compression": "int8"}, {"tail": "join"}], ids=["plain", "codec", "tail"])
def test_predictions_between_sites_are_those_of_the_joined_network(settings: dict[str, Any], tmp_path: Path) -> None:
    run = local_twin({"method": "sglr", "epochs": 1, "model": MODEL, **settings}, tmp_path / "run").path
    inputs = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with serving(run) as served:
        options = SiteOptions(WeightSource(run=run, client=1), device="cpu", model=MODEL)
        site = served.site(1, tmp_path / "site", options)
        found = site.outputs(inputs, 7)
    with torch.no_grad():
        torch.testing.assert_close(found, sglr.load_model(run, 1)(inputs), rtol=1e-4, atol=1e-5)
