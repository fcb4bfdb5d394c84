"""Signals as people send them: Ctrl-C while it still starts, and a terminal that is closed."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sglr.cli.watching import leaving, watching
from sglr.runs.folder import Run

SMALL = ("--clients", "2", "--samples-per-client", "64", "--model", "mlp", "--device", "cpu", "--quiet")


@contextmanager
def answering(number: int, handler: signal.Handlers) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("stoppable", [lambda: watching(quiet=True), lambda: leaving(log_json=False)])
@pytest.mark.parametrize("numbers", [["SIGHUP"], ["SIGHUP", "SIGHUP"], ["SIGHUP", "SIGTERM"], ["SIGTERM", "SIGHUP"]])
def test_a_hangup_asks_to_stop_and_never_stops_at_once(stoppable, numbers):
    # The terminal and the shell both send it, and systemd sends it after SIGTERM.
    with answering(signal.SIGHUP, signal.SIG_DFL):
        with stoppable() as found:
            stop = found if callable(found) else found.stop
            assert not stop()
            for name in numbers:
                os.kill(os.getpid(), getattr(signal, name))
                assert stop()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_hangup_that_is_ignored_stays_ignored():
    with answering(signal.SIGHUP, signal.SIG_IGN), watching(quiet=True) as watch:  # as nohup starts it
        os.kill(os.getpid(), signal.SIGHUP)
        assert not watch.stop()


def test_a_signal_does_not_fail_where_standard_error_takes_nothing(monkeypatch):
    with open("/dev/full", "wb", buffering=0) as full, watching(quiet=True) as watch:  # noqa: PTH123 - no file
        monkeypatch.setattr("sys.stderr", io.TextIOWrapper(full, write_through=True))
        os.kill(os.getpid(), signal.SIGTERM)
        assert watch.stop()


@pytest.fixture
def heeded_interrupt():
    """Heed SIGINT, and so in processes started here: a shell has its background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_interrupt")
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_the_command_line_is_imported_is_silent(times, tmp_path):
    command = [sys.executable, "-X", "importtime", "-m", "sglr", "list", "methods"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stderr is not None
        assert any(line.rpartition("|")[2].strip() == "typer" for line in process.stderr)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out) == (-signal.SIGINT, "")
    assert [line for line in err.splitlines() if not line.startswith("import time:")] == []


class Terminal:
    """A process with a terminal of its own, which can be closed."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.mine, its = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sglr", *words],
            cwd=folder,
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(its)

    def close(self) -> int:
        os.close(self.mine)
        return self.process.wait(60)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "epochs"), [("local", 60), ("remote", 12)])
def test_a_training_whose_terminal_is_closed_stops_with_a_checkpoint(engine, epochs, tmp_path, call):
    words = ("train", *SMALL[:-1], "--engine", engine, "--epochs", str(epochs), "--stacking", "looped")
    terminal = Terminal(tmp_path, *words, "--out", "run")
    end = time.monotonic() + 90
    while not Run(tmp_path / "run").history:
        # Somebody has to read what a terminal shows, else it stands still.
        os.set_blocking(terminal.mine, False)
        try:
            os.read(terminal.mine, 65536)
        except OSError:
            time.sleep(0.05)
        assert time.monotonic() < end
    assert terminal.close() == 1
    trained = len(Run(tmp_path / "run").history)
    assert trained < epochs
    assert Run(tmp_path / "run").checkpoints
    resumed = json.loads(call("resume", tmp_path / "run", "--json", "--quiet").out)
    whole = call("train", *SMALL, "--epochs", epochs, "--stacking", "looped", "--json", "--out", tmp_path / "whole")
    assert resumed["weights_sha256"] == json.loads(whole.out)["weights_sha256"]
