"""The commands as real processes: killed and started again as people do it, and none is left behind."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sglr.runs.folder import Run

from .federation import local_twin
from .test_serve import free_address

pytestmark = pytest.mark.slow

FLAGS = shlex.split(
    "--clients 2 --samples-per-client 64 --test-samples 40 --validation 30 --model mlp --device cpu --stacking looped "
    "--checkpoint-every 3"
)
SETTINGS = {
    "clients": 2,
    "samples_per_client": 64,
    "test_samples": 40,
    "validation": 30,
    "model": "mlp",
    "checkpoint_every": 3,
    "epochs": 40,
    "init": "common",
}


class Processes:
    """Processes of sglr in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def start(self, name: str, *words: object) -> subprocess.Popen[str]:
        """Start a command; what it says goes to files."""
        command = [sys.executable, "-m", "sglr", *map(str, words)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (self.folder / f"{name}.out").open("a") as out, (self.folder / f"{name}.err").open("a") as err:
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=out, stderr=err, text=True)
        self.started.append(process)
        return process

    def said(self, name: str) -> str:
        """Return what was said on standard error."""
        return (self.folder / f"{name}.err").read_text()

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.end()


def until(true: Callable[[], bool], what: str, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def epochs(run: Path) -> int:
    return len(Run(run).history)


def alive(word: str) -> list[int]:
    """Return processes with a word in their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in place.read_text() and int(place.parent.name) != os.getpid():
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found


def parent(process: int) -> int:
    """Return the process that started one."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_whatever_is_killed_the_same_command_goes_on_to_the_same_weights(processes, tmp_path):
    address = free_address()
    serve = ("serve", *FLAGS, "--epochs", 40, "--listen", address, "--out", "run", "--tokens", "tokens", "--json")
    run = tmp_path / "run"

    def join(client: int) -> subprocess.Popen[str]:
        words = (f"--token=@tokens/client-{client}.token", "--dataset", "digits", "--device", "cpu")
        return processes.start(f"client-{client}", "join", address, *words, "--partition", f"{client}/2")

    server = processes.start("server", *serve)
    until(lambda: (tmp_path / "tokens" / "client-1.token").is_file(), "the tokens")
    clients = [join(0), join(1)]
    until(lambda: epochs(run) >= 4, "the first epochs")
    clients[1].send_signal(signal.SIGKILL)
    clients[1].wait()
    clients[1] = join(1)
    reached = epochs(run)
    until(lambda: epochs(run) >= reached + 4, "epochs after a client was killed")
    server.send_signal(signal.SIGKILL)
    server.wait()
    server = processes.start("server", *serve)
    reached = epochs(run)
    until(lambda: epochs(run) >= reached + 4, "epochs after the server was killed")
    clients[0].send_signal(signal.SIGTERM)
    assert clients[0].wait(30) == 0
    assert "left the run; run the same command to rejoin" in processes.said("client-0")
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 1
    assert "run the same command to continue, clients wait for it" in processes.said("server")
    clients[0] = join(0)
    server = processes.start("server", *serve)
    assert server.wait(200) == 0, processes.said("server")
    assert [client.wait(30) for client in clients] == [0, 0]
    summary = Run.open(run).summary
    assert summary is not None
    assert json.loads((tmp_path / "server.out").read_text()) == summary
    alone = local_twin({**SETTINGS, "epochs": 40}, tmp_path / "local").summary
    assert alone is not None
    assert summary["weights_sha256"] == alone["weights_sha256"]
    assert alive(address) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_clients_on_this_machine_end_with_the_process_that_started_them(processes, tmp_path):
    folder = str(tmp_path / "run")
    train = processes.start("train", "train", "--engine", "remote", *FLAGS, "--epochs", 1000, "--out", folder)
    until(lambda: epochs(tmp_path / "run") >= 1, "an epoch")
    assert len(alive(folder)) == 4, "itself, the command of its clients, and a process of each"
    train.send_signal(signal.SIGKILL)
    train.wait()
    until(lambda: alive(folder) == [], "clients to end", 20)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_a_training_whose_client_is_killed_says_so_and_goes_on_when_it_is_resumed(processes, tmp_path):
    folder = str(tmp_path / "run")
    train = processes.start("train", "train", "--engine", "remote", *FLAGS, "--epochs", 40, "--out", folder)
    until(lambda: epochs(tmp_path / "run") >= 1, "an epoch")
    commands = set(alive(folder))
    clients = [process for process in commands if parent(process) in commands - {train.pid}]
    assert len(clients) == 2
    os.kill(clients[1], signal.SIGKILL)
    assert train.wait(60) == 1
    assert "the clients on this machine ended: error: a process of these clients was ended" in processes.said("train")
    assert alive(folder) == []
    assert processes.start("again", "resume", folder).wait(200) == 0, processes.said("again")
    assert epochs(tmp_path / "run") == 40


def test_a_table_of_ones_own_is_stopped_and_goes_on_in_processes_of_this_machine(processes, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(400, 3)), columns=list("abc"))
    frame["y"] = np.where(frame["a"] + frame["b"] > 0, "up", "down")
    frame.to_csv(tmp_path / "t.csv", index=False)
    words = ("--dataset", f"table:{tmp_path / 't.csv'}", "--label-column", "y", "--split-seed", 7, "--clients", 3)
    flags = (*words, "--model", "mlp", "--device", "cpu", "--stacking", "looped", "--epochs", 40, "--batch-size", 4)
    train = processes.start("train", "train", "--engine", "remote", *flags, "--out", "run")
    until(lambda: epochs(tmp_path / "run") >= 2, "epochs", 200)
    train.send_signal(signal.SIGTERM)
    assert train.wait(60) == 1
    assert "sglr resume run" in processes.said("train")
    assert processes.start("again", "resume", "run").wait(300) == 0, processes.said("again")
    assert processes.start("local", "train", *flags, "--out", "local").wait(300) == 0
    shared, alone = (Run.open(tmp_path / name).summary for name in ("run", "local"))
    assert shared is not None and alone is not None
    assert shared["weights_sha256"] == alone["weights_sha256"]
    assert alive(str(tmp_path)) == []


def test_a_training_that_diverges_ends_every_process_with_the_same_words(processes, tmp_path):
    address = free_address()
    flags = [*FLAGS, "--lr", "1e4", "--method", "sfl", "--epochs", "2", "--listen", address, "--out", "run"]
    server = processes.start("server", "serve", *flags, "--tokens", "tokens")
    until(lambda: (tmp_path / "tokens" / "client-1.token").is_file(), "the tokens")
    tokens = [word for number in range(2) for word in ("--token", f"@tokens/client-{number}.token")]
    clients = processes.start("clients", "join", address, *tokens, "--dataset", "digits", "--out", "sites")
    assert (server.wait(60), clients.wait(60)) == (1, 1)
    word = "error: the loss stopped being a number in epoch 1, step "
    assert word in processes.said("server")
    assert "; last good checkpoint: run/checkpoints/" in processes.said("server")
    assert word in processes.said("clients")
    assert "Traceback" not in processes.said("clients")
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["why"].startswith("the loss stopped being a number")
    assert not any("quarantined" in one["reason"] for one in status["clients"])
