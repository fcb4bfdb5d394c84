"""Progress in a notebook, and in a script only where it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sglr
from sglr.core.events import EpochDone, StepDone
from sglr.experiment.notebook_progress import NotebookProgress

SETTINGS: dict[str, Any] = {"clients": 2, "samples_per_client": 16, "test_samples": 40, "epochs": 2, "model": "mlp"}
RECORD = {"epoch": 1, "loss": 0.5, "train_accuracy": 0.7, "samples": 10, "seconds": 1.0}


def test_a_script_is_silent_unless_it_asks_for_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sglr.train("psl", out=tmp_path / "silent", **SETTINGS)
    assert capsys.readouterr() == ("", "")
    told: list[object] = []
    sglr.train("psl", out=tmp_path / "told", progress=True, observe=told.append, **SETTINGS)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line[:9] for line in err.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert sum(isinstance(event, EpochDone) for event in told) == 2


def test_a_notebook_has_a_bar_that_goes_when_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    view = NotebookProgress()
    monkeypatch.setattr(view, "_show", lambda: shown.append(view._repr_html_()))
    view.observe(StepDone(0, 2, 1, 4, 8))
    assert '<progress value="0.125"></progress> epoch 1/2  step 1/4' in shown[-1]
    view.observe(EpochDone(0, 2, RECORD))
    assert "epoch 1/2  loss 0.5" in shown[-1]
    view.observe(EpochDone(1, 2, RECORD))
    assert "<progress" not in shown[-1]
    assert [line[:9] for line in repr(view).splitlines()] == ["epoch 1/2", "epoch 2/2"]
