"""How Flower is started: its simulation, or a SuperLink, SuperNodes and a run."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from beside.certificates import write_certificates
from beside.contender import Contender

APP = Path(__file__).parent / "flower_app"


def environment(folder: Path, python: Path, *, threads: bool) -> dict[str, str]:
    """Return that of Flower's processes: without telemetry, and with Ray's processes as important as others."""
    own = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "RAY_ADDRESS")}
    own |= {"BESIDE_FOLDER": str(folder), "PYTHONPATH": str(APP), "FLWR_HOME": str(folder / "home")}
    own |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    own |= {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    return own | ({"OMP_NUM_THREADS": "1"} if threads else {})


def simulated_flower(python: Path) -> Callable[[Contender, Path], None]:
    """Return how a simulation is started; Ray gives each of its processes one thread."""

    def start(contender: Contender, data: Path) -> None:
        _share(contender, data)
        own = environment(contender.folder, python, threads=False)
        contender.family.start([str(python), str(APP / "simulate.py")], own)

    return start


def deployed_flower(python: Path, clients: int) -> Callable[[Contender, Path], None]:
    """Return how a SuperLink, a SuperNode for each client, and a run of the app are started, on loopback with TLS."""

    def start(contender: Contender, data: Path) -> None:
        _share(contender, data)
        own = environment(contender.folder, python, threads=True)
        link, *nodes = free_ports(1 + clients)
        (contender.folder / "home").mkdir()
        encrypted, root = write_certificates(contender.folder), str(contender.folder / "ca.pem")
        settings = f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{link}"\n'
        settings += f'root-certificates = "{root}"\n'
        (contender.folder / "home/config.toml").write_text(settings, encoding="utf-8")
        programs = python.parent
        serve = [*encrypted, "--port", str(link), "--disable-runtime-dependency-installation"]
        contender.family.start([str(programs / "flower-superlink"), *serve], own)
        wait_for_port(link)
        for client, port in enumerate(nodes):
            config = f"partition-id={client} num-partitions={clients}"
            words = [
                "--root-certificates",
                root,
                *encrypted,
                "--superlink",
                f"127.0.0.1:{link}",
                "--port",
                str(port),
                "--node-config",
                config,
            ]
            contender.family.start([str(programs / "flower-supernode"), *words], own)
        contender.family.start([str(programs / "flwr"), "run", str(APP), "here"], own)

    return start


def _share(contender: Contender, data: Path) -> None:
    (contender.folder / "work.pt").symlink_to(data / "work.pt")


def free_ports(number: int) -> list[int]:
    """Return ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for_port(port: int, seconds: float = 60) -> None:
    """Wait until somebody listens."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"nobody listens on port {port}")
