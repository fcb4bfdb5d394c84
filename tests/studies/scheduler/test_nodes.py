"""The command on a cluster of several nodes: one that dies is done without, and Ctrl-C brings checkpoints home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STORY = """
import glob, signal, subprocess, sys, tempfile, time
from pathlib import Path
from ray.cluster_utils import Cluster

def sweep(*words):
    sweep = [sys.executable, "-m", "sglr", "sweep", "grid.toml", "--out", "s", "--quiet"]
    words = [*sweep, "--ray-address", cluster.address, *words]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

def begun(epochs, process):
    known = "epochs = " + str(epochs)
    while True:
        assert process.poll() is None, process.communicate()
        for checkpoint in glob.glob(tempfile.gettempdir() + "/sglr-trial-*/*/checkpoints/step*"):
            try:
                if known in (Path(checkpoint).parents[1] / "config.toml").read_text():
                    return
            except OSError:  # it ended meanwhile
                pass
        time.sleep(0.1)

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
try:
    node = cluster.add_node(num_cpus=1)
    process = sweep("--epochs", "61")
    begun(61, process)
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "best    lr=" in out and "diverged" not in out, out
    process = sweep("--epochs", "457")
    begun(457, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 1, err
    assert "the same sweep again with out = s goes on from there" in err, err
    stopped = [path.parent for path in Path("s/cells").glob("*/config.toml") if "epochs = 457" in path.read_text()]
    assert stopped and all(list(path.glob("checkpoints/step-*")) for path in stopped), stopped
finally:
    cluster.shutdown()
"""


@pytest.mark.slow
def test_a_dead_node_costs_nothing_and_ctrl_c_brings_checkpoints_home(tmp_path: Path) -> None:
    shared = 'model = "mlp"\nclients = 4\nsamples_per_client = 40\n'
    (tmp_path / "grid.toml").write_text(shared + "[grid]\nlr = [0.001, 0.01]\n", encoding="utf-8")
    own = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback alone
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": os.urandom(32).hex(),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", STORY],
        cwd=tmp_path,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
