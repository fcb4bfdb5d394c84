"""Ray is reached or started, keeps to itself, and says plainly what is wrong."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sglr.core.errors import UsageError
from sglr.system.ray_cluster import connect

STARTED = """
import os, sglr.system.ray_cluster as cluster
ray = cluster.connect()
assert cluster.connect() is ray and cluster.started_here() and cluster.reachable()
from pathlib import Path

def listening():
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net/" + table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                ports.add((fields[9], fields[1].partition(":")[0]))
    return dict(ports)

def family():
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                pass
    own, more = set(), {os.getpid()}
    while more:
        own |= more
        more = {child for child, parent in parents.items() if parent in more} - own
    return own

sockets = listening()
bound = []
for process in family():
    for link in Path(f"/proc/{process}/fd").iterdir():
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("socket:["):
            bound += [sockets[inode] for inode in [target[8:-1]] if inode in sockets]
assert bound, "Ray listens nowhere?"
assert set(bound) <= {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}, bound

@ray.remote
def whose() -> str:
    return os.environ["RAY_AUTH_TOKEN"]

assert ray.get(whose.remote()) == os.environ["RAY_AUTH_TOKEN"]
from sglr.system.ray_head import ask
head = ray.get_runtime_context().gcs_address
assert ask(ray, head) is None
assert ask(ray, head, as_stranger=True).startswith("UNAUTHENTICATED")
processes = family() - {os.getpid()}
cluster.disconnect()
assert not cluster.started_here() and not cluster.reachable() and "RAY_AUTH_TOKEN" not in os.environ
import time

def alive():
    # Those that ended and were not asked for their exit code yet have no command line.
    lines = {p: Path(f"/proc/{p}/cmdline") for p in processes}
    return {p: line.read_bytes() for p, line in lines.items() if line.exists() and line.read_bytes()}

deadline = time.monotonic() + 20
while alive() and time.monotonic() < deadline:
    time.sleep(0.1)
assert not alive(), alive()
"""

HIDDEN = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
sys.meta_path.insert(0, Hidden())
from sglr.system.ray_cluster import connect
connect()
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
def test_a_ray_that_starts_here_listens_on_loopback_wants_a_token_and_leaves_nothing() -> None:
    done = python(STARTED)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""


def test_without_ray_the_extra_is_named() -> None:
    assert (
        "ray_address = this machine: needs the package ray, not installed here; pip install 'sglr[ray]'"
        in python(HIDDEN).stderr
    )


def test_a_ray_that_can_not_be_imported_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise OSError('libsomething.so is missing')\n")
    done = python("from sglr.system.ray_cluster import connect; connect()", PYTHONPATH=str(tmp_path))
    assert "Ray can't be imported (OSError: libsomething.so is missing)" in done.stderr


@pytest.mark.parametrize(
    "address", ["head", "head:", "head:port", "head:0", "head:70000", ":6379", "http://head:1", ""]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="invalid address; give auto, or HOST:PORT"):
        connect(address)


def test_a_ray_client_address_is_refused_with_the_way_that_works() -> None:
    with pytest.raises(UsageError, match=r"run sglr on a machine of the cluster"):
        connect("ray://head:10001")


def test_nobody_at_an_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = python(f"from sglr.system.ray_cluster import connect; connect('127.0.0.1:{port}')")
    assert "no Ray answers there (UNAVAILABLE" in done.stderr and "start one with ray start --head" in done.stderr


def test_auto_where_no_ray_runs(tmp_path: Path) -> None:
    done = python(
        "from sglr.system.ray_cluster import connect; connect('auto')",
        RAY_TMPDIR=str(tmp_path),
        RAY_ADDRESS="127.0.0.1:9",
    )
    assert "ray_address = auto: no Ray answers there" in done.stderr


OPEN = """
import sys, types, logging
from concurrent.futures import ThreadPoolExecutor
import grpc
from sglr.system.ray_head import check_head

def answer(request, context):
    wants = sys.argv[1] == "token"
    if wants and dict(context.invocation_metadata()).get("authorization") != "Bearer t":
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
    return b"id"

server = grpc.server(ThreadPoolExecutor(1))
handlers = {"GetClusterId": grpc.unary_unary_rpc_method_handler(answer)}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("ray.rpc.NodeInfoGcsService", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
loader = types.SimpleNamespace(has_token=lambda: True, get_token_for_http_header=lambda: {"authorization": "Bearer t"})
ray = types.SimpleNamespace(
    _private=types.SimpleNamespace(services=types.SimpleNamespace(canonicalize_bootstrap_address=lambda at: at)),
    _raylet=types.SimpleNamespace(AuthenticationTokenLoader=types.SimpleNamespace(instance=lambda: loader)),
)
logging.basicConfig()
check_head(ray, f"127.0.0.1:{port}")
server.stop(0)
"""


def test_who_joins_a_cluster_that_wants_no_token_is_warned() -> None:
    """Against a head that speaks Ray's first word; the next test starts a real one."""
    open_one, closed = (
        subprocess.run([sys.executable, "-c", OPEN, kind], capture_output=True, text=True, timeout=60, check=True)
        for kind in ("open", "token")
    )
    assert "requires no token: anyone who can reach its ports can run code" in open_one.stderr
    assert "RAY_AUTH_MODE=token" in open_one.stderr
    assert "wants no token" not in closed.stderr


HEAD = [
    "start",
    "--head",
    "--node-ip-address=127.0.0.1",
    "--num-cpus=1",
    "--include-dashboard=false",
    "--disable-usage-stats",
    "--block",
]


@pytest.mark.slow
def test_a_cluster_with_a_token_lets_in_who_has_it() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    head = subprocess.Popen(
        [str(Path(sys.executable).with_name("ray")), *HEAD, f"--port={port}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **token},
    )
    join = f"from sglr.system.ray_cluster import *; connect('127.0.0.1:{port}'); print(started_here(), reachable())"
    try:
        assert head.stdout is not None
        assert any("This command will now block" in line for line in head.stdout)
        right = python(join, **token)
        assert (right.stdout, right.returncode) == ("False True\n", 0), right.stderr
        assert "wants no token" not in right.stderr
        wrong = python(join, **{**token, "RAY_AUTH_TOKEN": "b" * 64})
        assert "refuses this process's token" in wrong.stderr
        assert "refuses this process's token" in python(join).stderr
    finally:
        head.terminate()
        head.communicate(timeout=30)
