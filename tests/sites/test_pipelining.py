"""Clients that compute a step ahead of their gradients: off by default, and the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest

from sglr.assembly.build import build
from sglr.core.errors import UsageError
from sglr.runs.config import Experiment

from .federation import SETTINGS, Federation


def test_gradients_are_one_step_old_and_the_run_is_the_same_every_time(tmp_path: Path) -> None:
    settings = {"method": "sglr", "samples_per_client": 40, "epochs": 1}
    found = []
    for name, pipelining in (("plain", False), ("ahead", True), ("again", True)):
        federation = Federation(tmp_path / name, {**settings, "pipelining": pipelining})
        summary = federation.train().summary
        assert not federation.problems
        assert summary is not None
        found.append(summary)
    plain, ahead, again = found
    assert ahead["weights_sha256"] == again["weights_sha256"] != plain["weights_sha256"]
    assert ahead["communication"]["up_bytes"] == plain["communication"]["up_bytes"]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"engine": "local"}, "engine local has no such setting"),
        ({"engine": "remote", "method": "fl"}, "nothing to compute ahead"),
    ],
)
def test_it_is_refused_where_it_has_no_meaning(changed: dict[str, str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        build(Experiment.from_flat({**SETTINGS, "pipelining": True, **changed}))
