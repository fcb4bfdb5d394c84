"""Clusters of several processes: nodes that die, a head that dies, and a trainer that dies."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ARGUMENTS = [
    *("--engine", "ray", "--model", "mlp", "--clients", "4", "--samples-per-client", "80", "--block-clients", "2"),
    *("--device", "cpu", "--test-samples", "50", "--checkpoint-every", "4", "--method", "sglr"),
]

NODE_LOSS = """
import logging, sys
from pathlib import Path
from ray.cluster_utils import Cluster
from sglr.runs.config import Experiment
from sglr.core.events import StepDone
from sglr.engines.ray import actor_pool
from sglr.experiment.train import execute

actor_pool.SQUEEZE_SECONDS = 5.0
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
cluster.wait_for_nodes()
settings = {"engine": "ray", "model": "mlp", "clients": 6, "samples_per_client": 48, "epochs": 2, "device": "cpu",
            "method": "sfl", "test_samples": 50, "checkpoint_every": 4, "ray_address": cluster.address}

def train(out, lose):
    steps = 0
    def observe(event):
        nonlocal steps
        steps += isinstance(event, StepDone)
        if lose and isinstance(event, StepDone) and steps == 7:
            cluster.remove_node(nodes[0], allow_graceful=False)
    run = execute(Experiment.from_flat(settings), Path(sys.argv[1]) / out, observe=observe)
    return run.summary["weights_sha256"], len((run.path / "blocks.json").read_text().split(",")) - 1, steps

peace = train("peace", False)
lost = train("lost", True)
assert peace[:2] == lost[:2], (peace, lost)
assert peace[1] == 3 and lost[2] > peace[2], (peace, lost)
"""


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def sglr(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sglr", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def finished(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out


def weights(folder: Path) -> str:
    return str(json.loads((folder / "summary.json").read_text())["weights_sha256"])


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.05)


def family(root: int) -> set[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    own, more = set(), {root}
    while more:
        own |= more
        more = {child for child, parent in parents.items() if parent in more} - own
    return own


def alive(processes: set[int]) -> list[str]:
    """Return the command lines of those that have not ended."""
    lines = []
    for process in processes:
        try:
            lines.append(Path(f"/proc/{process}/cmdline").read_text())
        except OSError:
            continue
    return [line for line in lines if line]


@contextmanager
def head(port: int) -> Iterator[subprocess.Popen[str]]:
    """Run a cluster of one machine, as its operator would."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2"]
    command += [f"--port={port}", "--include-dashboard=false", "--disable-usage-stats"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert any("This command will now block" in line for line in process.stdout)
        yield process
    finally:
        for number in family(process.pid):
            os.kill(number, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_a_node_is_lost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NODE_LOSS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_trainer_is_killed_leaves_nothing_behind_and_goes_on(tmp_path: Path) -> None:
    finished(sglr("train", *ARGUMENTS, "--epochs", "2", "--out", str(tmp_path / "peace"), "--quiet"))
    out = tmp_path / "killed"
    training = sglr("train", *ARGUMENTS, "--epochs", "2", "--out", str(out), "--quiet")
    wait_for(lambda: len(list(out.glob("checkpoints/*"))) > 1 or training.poll() is not None)
    assert training.poll() is None, "it ended before it could be killed"
    processes = family(training.pid) - {training.pid}
    assert len(processes) > 3
    training.kill()
    training.communicate()
    wait_for(lambda: not alive(processes))
    finished(sglr("resume", str(out)))
    assert weights(out) == weights(tmp_path / "peace")


@pytest.mark.slow
def test_the_head_is_killed(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    out, peace = tmp_path / "run", tmp_path / "peace"
    more = ["--epochs", "20", "--ray-address", f"127.0.0.1:{port}"]
    with head(port) as cluster:
        training = sglr("train", *ARGUMENTS, *more, "--out", str(out))
        wait_for(lambda: len(list(out.glob("checkpoints/*"))) > 2 or training.poll() is not None)
        assert training.poll() is None, training.communicate()
        for number in family(cluster.pid):
            if "gcs_server" in "".join(alive({number})):
                os.kill(number, signal.SIGKILL)
        _, err = training.communicate(timeout=240)
    assert training.returncode == 1, err
    last = err.strip().splitlines()[-1]
    assert re.search(r"error: the Ray cluster is gone.*sglr resume goes on", last), err
    settings = out / "config.toml"
    short = settings.read_text().replace(f'ray_address = "127.0.0.1:{port}"\n', "")
    settings.write_text(short)
    finished(sglr("resume", str(out)))
    finished(sglr("train", *ARGUMENTS, "--epochs", "20", "--out", str(peace), "--quiet"))
    assert weights(out) == weights(peace)
