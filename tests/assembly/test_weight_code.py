"""A code for weights is refused where it has no meaning, by name; where it has one, fewer bytes are counted."""

from __future__ import annotations

import pytest

import sglr
from sglr.assembly.build import build
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import StepDone
from sglr.runs.config import Experiment

SMALL = {"dataset": "digits", "model": "mlp", "clients": 3, "samples_per_client": 30, "epochs": 2, "device": "cpu"}


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        ({"method": "psl"}, "weight_compression = int8: clients of method psl send no weights"),
        ({"method": "sfl", "weight_compression": "int9"}, "weight_compression = int9: no such compression"),
        ({"method": "sfl", "weight_compression": "up=int8"}, "weight_compression = up=int8: .*the way up alone"),
    ],
)
def test_it_is_refused_where_it_has_no_meaning(chosen: dict[str, str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        build(Experiment.from_flat({**SMALL, "weight_compression": "int8", **chosen}))


def test_weights_go_up_in_a_quarter_of_the_bytes_and_learn_as_well(tmp_path) -> None:
    plain, coded = (
        sglr.train("sfl", **SMALL, weight_compression=code, out=tmp_path / code).summary for code in ("none", "int8")
    )
    up, down = (coded["communication"]["by_kind"][way]["weights"] for way in ("up", "down"))
    assert down == plain["communication"]["by_kind"]["down"]["weights"]
    assert up == pytest.approx(plain["communication"]["by_kind"]["up"]["weights"] / 4, rel=0.01)
    assert coded["test"]["loss"] == pytest.approx(plain["test"]["loss"], rel=0.02)
    assert coded["communication"]["views"]["paper"]["reason"] == "Table 6 is for weights that are sent as they are"


def test_stopped_and_resumed_a_run_remembers_what_its_codes_lost(tmp_path) -> None:
    chosen = {**SMALL, "method": "sfl", "epochs": 3, "weight_compression": "topk:0.2", "pipelining": 2}
    whole = sglr.train(**chosen, out=tmp_path / "whole").summary
    steps = [0]

    def count(event: object) -> None:
        steps[0] += isinstance(event, StepDone)

    with pytest.raises(Interrupted):
        sglr.train(**chosen, out=tmp_path / "stopped", observe=count, stop=lambda: steps[0] >= 6)
    assert sglr.resume(tmp_path / "stopped").summary["weights_sha256"] == whole["weights_sha256"]
