"""Users' stories: trackers are told of a run, once of every epoch, and a tracker that fails harms no training."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

import sglr
from sglr.cli.main import main
from sglr.experiment.tracking import TRACKING, parse
from sglr.runs.config import Experiment, told_to_clients
from sglr.runs.folder import Run
from sglr.runs.tracker import artefacts_of, title

SETTINGS: dict[str, Any] = {
    "clients": 2,
    "samples_per_client": 16,
    "test_samples": 40,
    "validation": 20,
    "epochs": 3,
    "model": "mlp",
}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]

DIARY = '''
import json
from dataclasses import dataclass
from pathlib import Path
from sglr.runs.tracker import Tracker, figures, settings_told, summary_figures

@dataclass
class Diary(Tracker):
    """Writes what it is told into a file; while there is a file "down", it raises."""

    file: Path = Path("diary.jsonl")

    def _write(self, what, told):
        print("the diary is chatty")
        if self.file.with_name("down").exists():
            raise ConnectionError("nobody\\nanswers")
        with self.file.open("a") as out:
            out.write(json.dumps([what, told]) + "\\n")

    def begin(self, run, known):
        self._write("goes on" if known else "begins", known or settings_told(run))
        return known or "page 1"

    def log(self, record):
        self._write("epoch", [record["epoch"], figures(record)])

    def finish(self, run):
        self._write("summary", summary_figures(run))

    def close(self, outcome):
        self._write("closed", outcome)
'''


@pytest.fixture(autouse=True)
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another package's tracker, as it is installed; return the file that it writes."""
    plugin = tmp_path / "plugin"
    info = plugin / "diary-1.0.dist-info"
    info.mkdir(parents=True)
    (plugin / "diary_tracker.py").write_text(DIARY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: diary\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sglr.trackers]\ndiary = diary_tracker:Diary\n")
    monkeypatch.syspath_prepend(plugin)
    monkeypatch.setenv("SGLR_TUNING", "off")
    return tmp_path / "diary.jsonl"


def read(diary: Path) -> list[tuple[str, Any]]:
    return [tuple(json.loads(line)) for line in diary.read_text().splitlines()]


def epochs_in(diary: Path) -> list[int]:
    return [told[0] for what, told in read(diary) if what == "epoch"]


def test_a_tracker_is_told_settings_epochs_and_summary_and_changes_nothing(
    tmp_path: Path, diary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = sglr.train("psl", out=tmp_path / "run", track=f"diary:file={diary}", **SETTINGS)
    assert capsys.readouterr().out == ""  # it may be JSON
    told = read(diary)
    assert [what for what, _ in told] == ["begins", "epoch", "epoch", "epoch", "summary", "closed"]
    assert told[0][1]["clients"] == 2
    assert "track" not in told[0][1]  # addresses may hold passwords
    for (_, (epoch, figures)), record in zip(told[1:4], run.history, strict=True):
        assert {"epoch": epoch, **figures} == record
    assert run.summary is not None
    assert told[4][1]["test/accuracy"] == run.summary["test"]["accuracy"]
    assert told[4][1]["communication/up_bytes"] == run.summary["communication"]["up_bytes"]
    assert told[5][1] == "done"
    plain = sglr.train("psl", out=tmp_path / "plain", **SETTINGS)
    assert plain.summary is not None
    assert plain.summary["weights_sha256"] == run.summary["weights_sha256"]
    assert plain.experiment.fingerprint() == run.experiment.fingerprint()
    assert "track" not in told_to_clients(run.experiment.flat())


@pytest.mark.charts
def test_a_password_in_an_address_is_in_no_file_that_is_sent_or_shown(tmp_path: Path) -> None:
    (tmp_path / "http:" / "ada:secret@host").mkdir(parents=True)
    track = f"diary:file={tmp_path}/http://ada:secret@host/diary.jsonl"
    assert main(["train", *FLAGS, "--quiet", "--out", str(tmp_path / "run"), "--track", track]) == 0
    run = sglr.Run(tmp_path / "run")
    assert "://ada:secret@host" in run.settings["track"]  # it is resumed with it
    sent = [path.read_text() for path in (*artefacts_of(run, "report"), run.path / "command.txt")]
    assert all("://…@host" in text or "://\\u2026@host" in text for text in sent)
    assert not any("secret" in text for text in sent)


def test_a_resumed_run_goes_on_in_the_tracker_and_tells_no_epoch_twice(tmp_path: Path, diary: Path) -> None:
    """It stops in the third epoch, and loses its newest checkpoint, so that the second is trained again."""
    steps: list[int] = []
    with pytest.raises(sglr.Interrupted):
        sglr.train(
            "psl",
            out=tmp_path / "run",
            track=f"diary:file={diary}",
            observe=lambda event: steps.append(1) if type(event).__name__ == "StepDone" else None,
            stop=lambda: len(steps) == 5,
            **SETTINGS,
        )
    assert read(diary)[-1] == ("closed", "stopped")
    run = sglr.Run(tmp_path / "run")
    for newest in run.checkpoints[1:]:
        newest.unlink()
    run = sglr.resume(run.path)
    assert len(run.history) == 3
    assert epochs_in(diary) == [1, 2, 3]
    assert [told for what, told in read(diary) if what == "goes on"] == ["page 1"]
    before = diary.read_text()
    sglr.resume(run.path)
    assert diary.read_text() == before + '["closed", "done"]\n'


def test_scores_of_an_epoch_that_was_the_last_by_a_callback_are_told_after_it(tmp_path: Path, diary: Path) -> None:
    class Enough(sglr.Callback):
        def on_epoch(self, record):
            raise sglr.StopTraining

    settings = {**SETTINGS, "eval_every": 2, "threads": 1}
    sglr.train("psl", out=tmp_path / "run", track=f"diary:file={diary}", callbacks=[Enough()], **settings)
    first, late = [told for what, told in read(diary) if what == "epoch"]
    assert (first[0], late[0]) == (1, 1)
    assert all(name.startswith("validation_") for name in late[1]) and "validation_loss" in late[1]


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_tracker_that_is_down_is_said_once_and_told_later(
    tmp_path: Path, diary: Path, caplog: pytest.LogCaptureFixture, comes_back: bool
) -> None:
    out, down = tmp_path / "run", tmp_path / "down"

    class Repair(sglr.Callback):
        def on_epoch(self, record: Any) -> None:
            if comes_back and record["epoch"] == 2:
                down.unlink()

    down.touch()
    with caplog.at_level(logging.WARNING):
        run = sglr.train("psl", out=out, track=f"diary:file={diary}", callbacks=[Repair()], **SETTINGS)
    said = [record.getMessage() for record in caplog.records if "tracker" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("the tracker diary failed (ConnectionError: nobody answers); the training goes on, and")
    assert run.summary is not None
    if not comes_back:
        assert not diary.exists()
        said = []
        sglr.resume(out, say=said.append)
        assert said == [f"{out} is finished; diary could not be told"]
        assert f"nobody answers); tell it what it missed later, with: sglr resume {out}" in caplog.messages[-1]
        down.unlink()
        sglr.resume(out, say=said.append)
        assert said[1:] == [f"{out} is finished; told diary of it"]
    assert epochs_in(diary) == [1, 2, 3]
    assert read(diary)[-2][0] == "summary"


def test_a_tracker_that_fails_leaves_the_exit_code_alone(
    tmp_path: Path, diary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "down").touch()
    flags = ["--out", str(tmp_path / "run"), "--track", f"diary:file={diary}", "--json", *FLAGS]
    assert main(["train", *flags]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["status"] == "done"
    assert told.err.count("the tracker diary failed") == 1


def test_a_finished_run_is_told_to_a_tracker_that_is_named_later(
    tmp_path: Path, diary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    sglr.train("psl", out=out, **SETTINGS)
    assert main(["resume", str(out), "--track", f"diary:file={diary}"]) == 0
    assert "told diary of it" in capsys.readouterr().err
    assert epochs_in(diary) == [1, 2, 3]
    (out / TRACKING).write_text("rubbish")
    assert main(["resume", str(out), "--track", f"diary:file={diary}"]) == 0
    assert epochs_in(diary) == [1, 2, 3] * 2  # it can't be known any more


def test_a_tracker_that_is_named_again_after_another_is_told_nothing_twice(tmp_path: Path, diary: Path) -> None:
    out, mine = tmp_path / "run", f"diary:file={diary}"
    sglr.train("psl", out=out, track=mine, **SETTINGS)
    before = diary.read_text()
    sglr.resume(out, track=f"tensorboard:dir={tmp_path / 'board'}")
    sglr.resume(out, track=mine)
    assert diary.read_text() == before + '["closed", "done"]\n'


def test_every_run_of_a_comparison_is_told(tmp_path: Path, diary: Path) -> None:
    settings = {**SETTINGS, "epochs": 1}
    sglr.compare(["psl", "sfl"], out=tmp_path / "both", track=f"diary:file={diary}", **settings)
    assert [told["method"] for what, told in read(diary) if what == "begins"] == ["psl", "sfl"]
    assert epochs_in(diary) == [1, 1]


@pytest.mark.parametrize(
    ("track", "problem"),
    [
        ("mlfow", r"tracker = mlfow: no such tracker; did you mean 'mlflow'\? known: diary, mlflow, tensorboard"),
        ("tensorboard+", r"tracker = : no such tracker"),
        ("tensorboard:x=1", r"track = tensorboard:x=1: unknown option 'x' for tensorboard; options: dir"),
        ("diary+diary", r"track = diary\+diary: diary is there twice"),
        ("wandb:mode=of", r"track = wandb:mode=of: invalid value 'of' for mode"),
        ("mlflow:uri=runs", r"track = mlflow:uri=runs: is no address of MLflow; give mlflow:uri=sqlite:///FILE"),
        ("diary:" + "x" * 2000, r"track = .*is longer than 1000 characters"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_any_work(tmp_path: Path, track: str, problem: str) -> None:
    with pytest.raises(sglr.UsageError, match=problem):
        sglr.train("psl", out=tmp_path / "run", track=track, **SETTINGS)
    with pytest.raises(sglr.UsageError, match=problem.partition(": ")[0]):
        sglr.compare(["psl"], out=tmp_path / "run", track=track, **SETTINGS)
    assert not (tmp_path / "run").exists()


def test_a_missing_package_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(
        sglr.UsageError, match=r"track = wandb: needs the package wandb, .*; pip install 'sglr\[track\]'"
    ):
        sglr.train("psl", out=tmp_path / "run", track="wandb", **SETTINGS)
    assert not (tmp_path / "run").exists()
    run = sglr.train("psl", out=tmp_path / "run", **SETTINGS)
    with pytest.raises(sglr.UsageError, match=r"pip install 'sglr\[track\]'"):
        sglr.resume(run.path, track="wandb")
    assert not (run.path / TRACKING).exists()


def test_a_run_of_a_sweep_has_a_name_that_people_can_read(tmp_path: Path) -> None:
    experiment = Experiment(method="psl", seed=3)
    folder = tmp_path / experiment.fingerprint()
    folder.mkdir()
    (folder / "config.toml").write_text(experiment.to_toml())
    assert title(Run(folder)) == f"psl-seed3-{experiment.fingerprint()[:6]}"


def test_no_tracker_is_the_default() -> None:
    assert Experiment().track == "none"
    assert parse("none") == parse("") == []
