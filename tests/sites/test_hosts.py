"""One server and two clients on hosts of their own: network namespaces that a bridge joins and nothing else reaches."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
from tests.sites.federation import SETTINGS, local_twin

from sglr.runs.folder import Run

pytestmark = pytest.mark.slow

CHOSEN: dict[str, Any] = {
    "method": "sglr",
    "clients": 2,
    "epochs": 12,
    "compression": "int8:feedback=true",
    "optimizer": "sgd:momentum=0.9",
    "checkpoint_every": 2,
}
OURS = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""All that is made lives in namespaces that end with this process."""

SCRIPT = r"""
set -eu
mount -t tmpfs none /run
ip link add name br0 type bridge
ip link set br0 up
number=10
for host in server client-0 client-1; do
    ip netns add $host
    ip link add name to-$host type veth peer name eth0 netns $host
    ip link set to-$host master br0 up
    ip -n $host address add 10.77.0.$number/24 dev eth0
    ip -n $host link set lo up
    ip -n $host link set eth0 up
    tc -n $host qdisc add dev eth0 root netem delay 4ms 1ms loss 1% || echo "no netem here"
    number=$((number + 1))
done
ip netns exec server "$PYTHON" -m sglr serve $FLAGS --threads=1 --listen=10.77.0.10:7443 --out=run --tokens=tokens &
server=$!
while [ ! -f tokens/client-1.token ]; do kill -0 $server; sleep 0.2; done
join() {
    ip netns exec client-$1 "$PYTHON" -m sglr join 10.77.0.10:7443 --token=@tokens/client-$1.token --out=site-$1 \
        --dataset=digits --partition=$1/2 --device=cpu --threads=1
}
join 0 & first=$!
join 1 & second=$!
while [ "$(wc -l < run/metrics.jsonl || echo 0)" -lt 2 ]; do kill -0 $server; sleep 0.1; done
ip -n client-1 link set eth0 down
sleep 3
ip -n client-1 link set eth0 up
wait $server
wait $first
wait $second
"""


def missing() -> str:
    """Return what this machine lacks; empty if nothing."""
    for command in ("unshare", "ip", "tc", "mount"):
        if shutil.which(command) is None:
            return f"needs the command {command}"
    tried = subprocess.run(
        [*OURS, "ip", "link", "add", "name", "br0", "type", "bridge"], capture_output=True, check=False
    )
    return "" if tried.returncode == 0 else "needs root and namespaces of the network's"


def test_hosts_of_their_own_with_a_slow_lossy_network_that_fails(tmp_path):
    if lacks := missing():
        pytest.skip(lacks)
    settings = {**SETTINGS, **CHOSEN}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items() if name != "stacking"]
    environment = {**os.environ, "PYTHON": sys.executable, "FLAGS": " ".join(flags), "OMP_NUM_THREADS": "1"}
    (tmp_path / "hosts").mkdir()
    done = subprocess.run(
        [*OURS, "bash", "-c", SCRIPT],
        cwd=tmp_path / "hosts",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("the training is over") == 2
    remote, local = Run.open(tmp_path / "hosts" / "run").summary, local_twin(CHOSEN, tmp_path / "local").summary
    assert remote is not None
    assert local is not None
    assert remote["weights_sha256"] == local["weights_sha256"]
    assert remote["communication"] == local["communication"]
