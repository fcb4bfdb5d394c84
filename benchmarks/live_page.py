"""What the live page costs a server with many clients, and how soon it shows a change.

``python benchmarks/live_page.py`` prints JSON: processor time, which a busy machine changes little, as a share of one
core,

- of the training's process: ``status.json`` of all clients and ``progress.json`` written every 0.75 s, and what a step
  does for these and to look for a request to stop;
- of the page's process, with one browser's stream open, while all clients change in every status;

and the seconds from a change of a file to the event that tells it, which a busy machine makes longer.
"""

from __future__ import annotations

import argparse
import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from record import machine, write_result
from sglr.core.events import StepDone
from sglr.cost.communication import Ledger
from sglr.engines.remote.server.client_state import HERE, ClientState
from sglr.engines.remote.server.status_file import SECONDS, StatusFile
from sglr.experiment.progress_file import SECONDS as PROGRESS_SECONDS
from sglr.experiment.progress_file import ProgressFile
from sglr.runs.stop_file import StopRequest

TICKS = os.sysconf("SC_CLK_TCK")


def states(clients: int) -> list[ClientState]:
    """Return clients that have answered many requests."""
    found = [ClientState(client, HERE, samples=500, up_bytes=10**6 + client) for client in range(clients)]
    for state in found:
        state.answer_seconds.extend(0.02 + number / 1e4 for number in range(50))
        state.network_seconds.extend(0.002 + number / 1e5 for number in range(50))
    return found


def described(clients: list[ClientState], step: int) -> dict[str, Any]:
    """Return a status, after every client has moved."""
    for state in clients:
        state.up_bytes += 1000 + step
        state.down_bytes += 900 + step
    return {"run": "0" * 32, "state": "training", "why": "", "clients": [state.describe() for state in clients]}


def processor_seconds(work: Callable[[], object], times: int) -> float:
    """Return the processor time of one call, the least of some rounds."""
    rounds = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            work()
        rounds.append((time.process_time() - began) / times)
    return min(rounds)


def training_side(folder: Path, clients: int) -> dict[str, float]:
    """Return what a server's process spends."""
    known = states(clients)
    file = StatusFile(folder / "status.json", lambda: described(known, 1))
    status = processor_seconds(lambda: file._write({}), 20)
    ledger = Ledger(clients)
    progress = ProgressFile(folder, lambda: {**ledger.record(), "seconds": 1.0, "clients": ledger.up_and_down(clients)})
    stop = StopRequest(folder, lambda: False)

    def step() -> None:
        progress.step(StepDone(0, 10, 5, 100, 4000))
        stop()

    return {
        "milliseconds_per_status": 1e3 * status,
        "share_of_a_core": status / SECONDS,
        "share_of_a_core_for_progress": processor_seconds(lambda: progress._write("training"), 50) / PROGRESS_SECONDS,
        "microseconds_per_step": 1e6 * processor_seconds(step, 20_000),
    }


def page_side(folder: Path, clients: int, seconds: float) -> dict[str, float]:
    """Return what the page's process spends, and how late it tells a change."""
    (folder / "config.toml").write_text(f'method = "sglr"\nclients = {clients}\nepochs = 10\nengine = "remote"\n')
    known, late = states(clients), list[float]()
    command = [sys.executable, "-m", "sglr", "watch", str(folder), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().partition("?")[0].rstrip("/").rpartition(":")[2])
            events = changes(port)
            next(events)
            file = StatusFile(folder / "status.json", lambda: described(known, 1))
            before, began = spent(process.pid), time.monotonic()
            while time.monotonic() - began < seconds:
                file._write({})
                written = time.monotonic()
                next(events)
                late.append(time.monotonic() - written)
                time.sleep(max(0.0, SECONDS - late[-1]))
            share = (spent(process.pid) - before) / (time.monotonic() - began)
        finally:
            process.terminate()
    return {"share_of_a_core": share, "median_seconds_late": median(late), "most_seconds_late": max(late)}


def spent(process: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def changes(port: int) -> Iterator[bytes]:
    """Yield the events of a page as a browser gets them."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/events")
    answer = connection.getresponse()
    while line := answer.readline():
        if line.startswith(b"data: "):
            yield line


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[3, 500])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--keep", action="store_true", help="write the result to benchmarks/results")
    given = parser.parse_args()
    found = {}
    for clients in given.clients:
        with tempfile.TemporaryDirectory() as folder:
            side = training_side(Path(folder), clients)
            found[str(clients)] = {"training": side, "page": page_side(Path(folder), clients, given.seconds)}
    write_result("live_page", "cpu", {"machine": machine(), "clients": found}, keep=given.keep)


if __name__ == "__main__":
    main()
