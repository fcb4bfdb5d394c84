"""A run that is asked to stop by a file in its folder, and what its folder tells of its progress meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sglr
from sglr.core.errors import Interrupted
from sglr.core.events import EpochDone, Event, StepDone
from sglr.runs.folder import PROGRESS, Run
from sglr.runs.stop_file import EPOCH, STEP, STOP, StopRequest, request_stop, requested_stop
from sglr.storage.lock import is_locked

TINY: dict[str, Any] = {
    "clients": 2,
    "samples_per_client": 40,
    "batch_size": 8,
    "epochs": 3,
    "model": "mlp",
    "device": "cpu",
}


def progress(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / PROGRESS).read_text())
    return found


def asking(folder: Path, after: str, at: tuple[int, int]) -> Callable[[Event], None]:
    """Ask to stop once the step ``at`` (epoch, step) is over."""

    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == at:
            assert is_locked(folder)
            request_stop(folder, after)

    return observe


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the files be looked at, and written, in every step: these take microseconds."""
    monkeypatch.setattr("sglr.runs.stop_file.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("sglr.experiment.progress_file.SECONDS", 0.0)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("after", "epochs", "steps"), [(STEP, 1, 3), (EPOCH, 2, 5)])
def test_it_stops_with_a_checkpoint_and_resumed_ends_as_if_it_never_had(
    after: str, epochs: int, steps: int, tmp_path: Path
) -> None:
    whole = sglr.train("sglr", out=tmp_path / "whole", **TINY)
    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted, match="continue with: sglr resume"):
        sglr.train("sglr", out=folder, observe=asking(folder, after, (1, 3)), **TINY)
    assert len(Run(folder).history) == epochs
    told = progress(folder)
    assert (told["state"], told["epoch"], told["epochs"], told["step"], told["steps"]) == ("stopped", 2, 3, steps, 5)
    assert told["stops_after"] == after
    assert told["up_bytes"] > 0 < told["seconds"]
    assert not (folder / STOP).exists()
    assert not is_locked(folder)
    resumed = sglr.resume(folder)
    assert resumed.summary is not None is not whole.summary
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]
    assert not (folder / PROGRESS).exists()


@pytest.mark.usefixtures("at_once")
def test_progress_grows_within_an_epoch_and_is_gone_at_the_end(tmp_path: Path) -> None:
    folder, seen = tmp_path / "run", []

    def observe(event: Event) -> None:
        if isinstance(event, StepDone | EpochDone):
            seen.append(progress(folder))

    sglr.train("psl", out=folder, observe=observe, **{**TINY, "epochs": 1})
    assert [(one["epoch"], one["step"], one["steps"]) for one in seen[:5]] == [(1, n, 5) for n in range(1, 6)]
    assert all(one["state"] == "training" for one in seen)
    assert seen[0]["samples_per_second"] is None
    assert seen[-1]["samples_per_second"] > 0
    assert [one["up_bytes"] for one in seen] == sorted(one["up_bytes"] for one in seen)
    for way in ("up_bytes", "down_bytes"):
        assert [sum(one["clients"][way]) for one in seen] == [one[way] for one in seen]
        assert len(seen[-1]["clients"][way]) == TINY["clients"]
    assert not (folder / PROGRESS).exists()


def test_what_went_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(sglr.DivergedError):
        sglr.train("psl", out=tmp_path / "run", **{**TINY, "lr": 1e30, "optimizer": "sgd"})
    told = progress(tmp_path / "run")
    assert told["state"] == "failed"
    assert "stopped being" in told["why"]


def test_a_request_of_before_was_meant_for_another_process(tmp_path: Path) -> None:
    request_stop(tmp_path, STEP)
    assert not StopRequest(tmp_path, lambda: False)()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"now", b"\xff\xfe", b"step" * 100])
def test_a_file_that_says_something_else_asks_for_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / STOP).write_bytes(content)
    assert requested_stop(tmp_path) is None
    with pytest.raises(ValueError, match="can't stop after"):
        request_stop(tmp_path, content.decode(errors="replace"))
