"""Users' stories: code of their own that is called while a run trains, ends it, or fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sglr
from sglr.cli.main import main
from sglr.core.events import StepDone

SETTINGS: dict[str, Any] = {
    "clients": 2,
    "samples_per_client": 16,
    "test_samples": 40,
    "validation": 20,
    "epochs": 3,
    "model": "mlp",
    "seed": 1,
}
"""Two steps an epoch."""


class Noting(sglr.Callback):
    """Notes what it is told, and then does what it was given for that."""

    def __init__(self, **acts: Callable[[Any], None]) -> None:
        self.acts, self.told = acts, []

    def _note(self, name: str, told: Any) -> None:
        self.told.append((name, told))
        self.acts.get(name, lambda _: None)(told)

    def on_train_start(self, run: sglr.Run) -> None:
        self._note("start", run)

    def on_step(self, step: StepDone) -> None:
        self._note("step", step)

    def on_epoch(self, record: Any) -> None:
        self._note("epoch", record)

    def on_train_end(self, run: sglr.Run) -> None:
        self._note("end", run)


def fail_at(epoch: int) -> Callable[[Any], None]:
    def act(told: Any) -> None:
        if (told["epoch"] if isinstance(told, dict) else told.epoch + 1) == epoch:
            raise KeyError("no such thing")

    return act


def test_callbacks_are_told_of_every_step_and_epoch_and_change_nothing(tmp_path: Path) -> None:
    noting = Noting()
    run = sglr.train("psl", out=tmp_path / "run", callbacks=[noting], **SETTINGS)
    assert [name for name, _ in noting.told] == ["start", *["step", "step", "epoch"] * 3, "end"]
    assert [told for name, told in noting.told if name == "epoch"] == run.history
    assert noting.told[-1][1].summary == run.summary
    plain = sglr.train("psl", out=tmp_path / "plain", **SETTINGS)
    assert plain.summary["weights_sha256"] == run.summary["weights_sha256"]
    assert (run.summary["epochs_done"], run.summary["stopped"]) == (3, None)


def test_a_callback_ends_the_training_after_the_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def enough(step: StepDone) -> None:
        if step.epoch == 1:
            raise sglr.StopTraining("it is good enough")

    run = sglr.train("sglr", out=tmp_path / "run", callbacks=[Noting(step=enough)], **{**SETTINGS, "epochs": 9})
    summary = run.summary
    assert [record["epoch"] for record in run.history] == [1, 2]
    assert (summary["status"], summary["epochs"], summary["epochs_done"]) == ("done", 9, 2)
    assert summary["stopped"] == "callback Noting: it is good enough"
    twice = sglr.train("sglr", out=tmp_path / "twice", **{**SETTINGS, "epochs": 2})
    for costs in ("computation", "communication", "energy"):
        assert summary[costs] == twice.summary[costs]
    assert main(["show", str(run.path)]) == 0
    shown = capsys.readouterr().out
    assert "after epoch 2 of 9: callback Noting: it is good enough" in " ".join(shown.split())
    assert "2 of 9 epochs (stopped: callback Noting" in (run.path / "report.html").read_text()
    assert sglr.resume(run.path).summary == summary


@pytest.mark.parametrize("where", ["step", "epoch"])
def test_the_epoch_with_which_a_callback_ends_the_training_is_validated(tmp_path: Path, where: str) -> None:
    """It trains as a run of three epochs, of which the last is always validated."""

    def enough(told: Any) -> None:
        if (told["epoch"] if isinstance(told, dict) else told.epoch + 1) == 3:
            raise sglr.StopTraining("enough")

    settings = {**SETTINGS, "eval_every": 2, "schedule": "constant", "threads": 1}
    noting = Noting(**{where: enough})
    run = sglr.train("psl", out=tmp_path / "run", callbacks=[noting], **{**settings, "epochs": 9})
    planned = sglr.train("psl", out=tmp_path / "planned", **{**settings, "epochs": 3})
    assert [record["epoch"] for record in run.history if "validation_accuracy" in record] == [2, 3]
    for mine, its in zip(run.history, planned.history, strict=True):
        assert without_times(mine) == without_times(its)
    for part in ("validation", "test", "weights_sha256"):
        assert run.summary[part] == planned.summary[part]
    assert ("validation_loss" in noting.told[-2][1]) == (where == "step")
    (run.path / "summary.json").unlink()
    again = sglr.resume(run.path)
    assert (again.history, again.summary["test"]) == (run.history, planned.summary["test"])


def without_times(record: Any) -> Any:
    return {name: value for name, value in record.items() if "seconds" not in name}


@pytest.mark.parametrize(("where", "epoch"), [("step", 2), ("epoch", 1), ("epoch", 3)])
def test_an_error_in_a_callback_stops_the_run_with_a_checkpoint(tmp_path: Path, where: str, epoch: int) -> None:
    out = tmp_path / "run"
    with pytest.raises(sglr.CallbackError, match=rf"callback Noting failed in on_{where} \(KeyError: .*sglr resume "):
        sglr.train("psl", out=out, callbacks=[Noting(**{where: fail_at(epoch)})], **SETTINGS)
    later = Noting()
    run = sglr.resume(out, callbacks=[later])
    whole = sglr.train("psl", out=tmp_path / "whole", **SETTINGS)
    assert run.summary["weights_sha256"] == whole.summary["weights_sha256"]
    steps = sum(name == "step" for name, _ in later.told)
    assert steps == {("step", 2): 3, ("epoch", 1): 4, ("epoch", 3): 0}[where, epoch]


def test_what_is_no_callback_is_refused_before_any_work(tmp_path: Path) -> None:
    for wrong in (Noting, print):
        with pytest.raises(sglr.UsageError, match=r"callbacks = .*derives from sglr.Callback; give callbacks=\["):
            sglr.train("psl", out=tmp_path / "run", callbacks=[wrong], **SETTINGS)
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_told_to_end_is_done_when_it_is_resumed(tmp_path: Path) -> None:
    """The process ends between the last checkpoint and the summary."""

    def stop(record: Any) -> None:
        raise sglr.StopTraining("enough")

    run = sglr.train("psl", out=tmp_path / "run", callbacks=[Noting(epoch=stop)], **SETTINGS)
    wanted = run.summary
    (run.path / "summary.json").unlink()
    again = sglr.resume(run.path).summary
    for summary in (again, wanted):
        del summary["seconds"]
    assert again == wanted
    assert again["stopped"] == "callback Noting: enough"
