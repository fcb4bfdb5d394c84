"""The command line, called in this process or as a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sglr.cli.main import main

TINY = ("--clients", "4", "--samples-per-client", "16", "--epochs", "1", "--model", "mlp")
"""A training of a second."""


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a command in this process."""

    def run(*words: object) -> Answer:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a command as a process of its own, in a folder of its own."""

    def run(*words: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sglr", *(str(word) for word in words)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, encoding="utf-8")

    return run


@pytest.fixture
def tiny() -> tuple[str, ...]:
    """Flags of a training of a second."""
    return TINY


@pytest.fixture(scope="session")
def finished(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Return a finished run of three epochs, to be copied."""

    def train(path: Path) -> None:
        assert main(["train", *TINY, "--epochs", "3", "--quiet", "--json", "--out", str(path)]) == 0

    return once("finished", train)


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    """Return a finished run of three epochs, the test's own."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
