"""A training over links in a box: the same weights, in the time that the links take."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from sglr.assembly.build import build
from sglr.core.errors import UsageError
from sglr.core.events import StepDone
from sglr.runs.config import Experiment

from .federation import SETTINGS, Federation


def test_links_change_when_a_step_is_over_and_nothing_else(tmp_path: Path) -> None:
    settings = {"method": "sglr", "samples_per_client": 40, "epochs": 1}
    hashes, shortest = [], []
    for link in ("none", "rtt=100ms,rate=2Mbit;1=rtt=20ms,jitter=10ms,loss=5%"):
        times: list[float] = []

        def observe(event: Any, times: list[float] = times) -> None:
            if isinstance(event, StepDone):
                times.append(time.monotonic())

        federation = Federation(tmp_path / link[:4], {**settings, "link": link})
        summary = federation.train(observe=observe).summary
        assert not federation.problems
        assert summary is not None
        hashes.append(summary["weights_sha256"])
        shortest.append(min(after - before for before, after in itertools.pairwise(times)))
        told = [line for line in federation.said if "as by a link of" in line]
        assert len(told) == (0 if link == "none" else 3)
    assert hashes[0] == hashes[1]
    assert shortest[1] >= 0.1, "a gradient there, smashed data back"


def test_a_site_may_say_otherwise(tmp_path: Path) -> None:
    settings = {"method": "psl", "epochs": 1, "link": "rtt=4s"}
    for link, told in (("none", 0), ("1=rtt=5ms", 1)):
        federation = Federation(tmp_path / link, settings, link=link)
        federation.train()
        assert not federation.problems
        assert len([line for line in federation.said if "as by a link of rtt=5ms" in line]) == told


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"engine": "local", "link": "rtt=10ms"}, "engine local has no such setting"),
        ({"link": "0-3=rtt=10ms"}, "there is no client 3; there are 3, 0 to 2"),
        ({"link": "rtt=10ms,jitter=1s"}, "the jitter is greater than the rtt"),
    ],
)
def test_a_link_that_makes_no_sense_is_refused_before_any_work(changed: dict[str, str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        build(Experiment.from_flat({**SETTINGS, "engine": "remote", **changed}))
