"""Leakage measured while training: it changes nothing, survives a stop, and is refused where it can't be had."""

from __future__ import annotations

from pathlib import Path

import pytest

import sglr
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import StepDone

TINY = {"clients": 3, "samples_per_client": 40, "epochs": 3, "model": "cnn", "stacking": "stacked"}


@pytest.mark.charts
def test_weights_are_those_of_a_training_that_is_not_watched(tmp_path: Path) -> None:
    plain = sglr.train("sglr", **TINY, out=tmp_path / "plain")
    watched = sglr.train("sglr", **TINY, leakage="every=2,samples=64", out=tmp_path / "watched")
    assert plain.summary is not None and watched.summary is not None
    assert watched.summary["weights_sha256"] == plain.summary["weights_sha256"]
    looked_at = [record["epoch"] for record in watched.history if "leakage_distance_correlation" in record]
    assert looked_at == [2, 3]
    assert watched.summary["leakage"]["epoch"] == 3
    assert 0 < watched.history[-1]["leakage_explained"] <= 1
    assert "leakage" not in plain.summary
    assert "Leakage over epochs" in (watched.path / "report.html").read_text(encoding="utf-8")


def test_a_run_that_was_stopped_measures_the_same(tmp_path: Path) -> None:
    settings = {**TINY, "leakage": "every=1,samples=64"}
    through = sglr.train("psl", **settings, out=tmp_path / "through")
    steps: list[StepDone] = []
    with pytest.raises(Interrupted):
        sglr.train(
            "psl",
            **settings,
            out=tmp_path / "stopped",
            observe=lambda event: steps.append(event) if isinstance(event, StepDone) else None,
            stop=lambda: len(steps) == 7,
        )
    resumed = sglr.resume(tmp_path / "stopped")
    names = ("leakage_distance_correlation", "leakage_explained", "leakage_label_inference_accuracy")
    assert [[one[name] for name in names] for one in resumed.history] == [
        [one[name] for name in names] for one in through.history
    ]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"leakage": "evry=1"}, "every"),
        ({"leakage": "every=0"}, "greater than or equal to 1; give every=<int>"),
        ({"leakage": "every=1,samples=5"}, "32"),
        ({"leakage": "every=1", "method": "fl"}, "whole model"),
        ({"leakage": "every=1", "engine": "remote"}, "on other machines"),
    ],
)
def test_what_cannot_be_watched_is_refused_before_any_work(tmp_path: Path, settings, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        sglr.train(**{**TINY, **settings}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
