"""A stranger's run folder: what its settings name is not run from there, whatever the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sglr
from sglr.cli.main import main
from sglr.core.errors import Interrupted, UsageError
from sglr.core.model import import_installed

CODE = """
from pathlib import Path
from torch import nn
Path({mark!r}).touch()
def net(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, classes))
def bare():
    Path({mark!r}).touch()
"""
SETTINGS = {"clients": 2, "samples_per_client": 20, "epochs": 2, "test_samples": 40, "cut": 2}


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that a stranger's code makes if it is run."""
    return tmp_path / "it ran"


@pytest.fixture
def code(mark: Path) -> str:
    return CODE.format(mark=str(mark))


@pytest.fixture
def stranger(tmp_path: Path, code: str, mark: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run after its first epoch, with the code of its model in its folder, which is where we are."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "helper_of_a_stranger.py").write_text(code)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(home)
    seen: list[object] = []
    with pytest.raises(Interrupted):
        run = tmp_path / "run"
        sglr.train(
            "psl",
            model="helper_of_a_stranger:net",
            out=run,
            observe=seen.append,
            stop=lambda: any(type(event).__name__ == "EpochDone" for event in seen),
            **SETTINGS,
        )
    sys.path.remove(str(home))
    _forget()
    (home / "helper_of_a_stranger.py").rename(run / "helper_of_a_stranger.py")
    (run / "__init__.py").touch()
    monkeypatch.chdir(run)
    mark.unlink()
    return run


def _forget() -> None:
    for name in [name for name in sys.modules if "helper_of_a_stranger" in name]:
        del sys.modules[name]


def _name(run: Path, spec: str) -> None:
    config = run / "config.toml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("model =")]
    config.write_text("\n".join([f'model = "{spec}"', *lines]))


def test_no_command_runs_code_from_inside_a_run_folder(
    stranger: Path, mark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["resume", "."], ["leak", "."], ["leak", ".", "--attack=decoder"]):
        assert main(command) == 2
        assert "if you trust it, name it yourself: --model helper_of_a_stranger:net" in capsys.readouterr().err
    for command in (["show", "."], ["report", "."], ["status", "."]):
        main(command)
    with pytest.raises(UsageError, match="which is not installed"):
        sglr.load_model(".")
    assert not mark.exists()


@pytest.mark.parametrize(
    "spec",
    [
        "run.helper_of_a_stranger:net",
        "os:abort",
        "http.server:test",
        "sglr.cli.main:main",
        "pytest.__main__:main",
        "pytest:main",
        "installed_somewhere:bare",
    ],
)
def test_neither_by_a_detour(
    spec: str, stranger: Path, mark: Path, code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    touching = f"from pathlib import Path\ndef bare():\n    Path({str(mark)!r}).touch()\n"
    (tmp_path / "site" / "installed_somewhere.py").write_text(touching)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path)  # as if PYTHONPATH named the folder around the run
    monkeypatch.syspath_prepend(stranger)
    (stranger / "conftest.py").write_text(code)
    _name(stranger, spec)
    with pytest.raises(UsageError, match="the run's folder names this"):
        sglr.load_model(stranger)
    assert not mark.exists()


def test_neither_by_what_was_chosen_by_measurement(stranger: Path, mark: Path) -> None:
    _name(stranger, "mlp")
    (stranger / "choices.json").write_text('{"model": "helper_of_a_stranger:net"}')
    with pytest.raises(UsageError, match="model is never chosen by measurement"):
        sglr.resume(stranger)
    assert not mark.exists()


def test_neither_by_files_that_are_called_like_packages(stranger: Path, mark: Path, code: str) -> None:
    bad = f"from pathlib import Path; Path({str(mark)!r}).touch(); raise SystemExit(9)"
    for name in ("torch", "rich", "typer", "numpy", "sitecustomize", "usercustomize", "tomllib"):
        (stranger / f"{name}.py").write_text(bad)
    (stranger / "here.pth").write_text(f"import os; {bad}")
    points = stranger / "evil-1.0.dist-info"
    points.mkdir()
    (points / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (points / "entry_points.txt").write_text("[sglr.methods]\npsl2 = helper_of_a_stranger:net\n")
    command = [sys.executable, "-m", "sglr", "show", ".", "--json"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    listed = subprocess.run([*command[:3], "list", "methods"], capture_output=True, text=True, check=True)
    assert "psl2" not in listed.stdout
    assert not mark.exists()


def test_code_that_is_named_or_installed_elsewhere_is_run(
    stranger: Path, mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = shutil.copytree(stranger, tmp_path / "again")
    assert main(["resume", str(stranger), "--model", "helper_of_a_stranger:other"]) == 2
    assert "the run's model is helper_of_a_stranger:net" in capsys.readouterr().err
    assert not mark.exists()
    assert main(["resume", str(stranger), "--model", "helper_of_a_stranger:net"]) == 0
    assert main(["leak", ".", "--model", "helper_of_a_stranger:net", "--measures=none"]) == 0
    assert sglr.load_model(".", model="helper_of_a_stranger:net")
    assert mark.exists()
    _forget()
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(stranger)])
    (tmp_path / "site").mkdir()
    (again / "helper_of_a_stranger.py").rename(tmp_path / "site" / "helper_of_a_stranger.py")
    monkeypatch.syspath_prepend(tmp_path / "site")
    finished = sglr.resume(again)
    assert finished.summary["weights_sha256"] == sglr.Run(stranger).summary["weights_sha256"]
    _forget()


def test_the_path_is_as_it_was(tmp_path: Path) -> None:
    before = list(sys.path)
    assert import_installed("model", "torch.nn:Linear", "torch.nn", tmp_path).__name__ == "torch.nn"
    with pytest.raises(UsageError):
        import_installed("model", "x_y_z:f", "x_y_z", Path(os.sep))
    assert sys.path == before
