"""A run whose faults must not show: its twin in peace, and what happens at given steps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from benchmarks.chaos.proxy import Proxy

from sglr.core.events import Event, StepDone
from sglr.runs.folder import Run

from .federation import Federation, local_twin

WITH_MEMORY = {"method": "sglr", "compression": "int8:feedback=true", "optimizer": "sgd:momentum=0.9"}
SHARED = {"method": "sfl", "optimizer": "sgd:momentum=0.9"}
SHORT = {**WITH_MEMORY, "checkpoint_every": 2}
"""Six steps, with checkpoints after 0, 2, 3, 4 and 6."""

with_and_without_shared_segments = pytest.mark.parametrize(
    "settings", [WITH_MEMORY, pytest.param(SHARED, marks=pytest.mark.slow)], ids=["sglr", "sfl"]
)


def undisturbed(settings: dict[str, Any]) -> str:
    """Return the weights' SHA-256 of the same training in one process, where nothing can break."""
    return _undisturbed(tuple(sorted(settings.items())))


@cache
def _undisturbed(settings: tuple[tuple[str, Any], ...]) -> str:
    with TemporaryDirectory() as folder:
        return str(local_twin(dict(settings), Path(folder) / "run").summary["weights_sha256"])


def through(proxy: Proxy) -> Callable[[int], int]:
    def ready(port: int) -> int:
        proxy.target_port = port
        return proxy.port

    return ready


def at_steps(*actions: tuple[tuple[int, int], Callable[[], None]]) -> Callable[[Event], None]:
    """Do something once when an epoch's step is over, before the next begins."""
    due = list(actions)

    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and due and (event.epoch, event.step) == due[0][0]:
            due.pop(0)[1]()

    return observe


def later(seconds: float, action: Callable[[], None]) -> None:
    threading.Timer(seconds, action).start()


def until(over: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not over():
        assert time.monotonic() < end
        time.sleep(0.02)


def ends_as_undisturbed(federation: Federation, run: Run) -> None:
    assert federation.problems == []
    settings = {name: value for name, value in federation.settings.items() if name not in ("checkpoint_every",)}
    assert run.summary["weights_sha256"] == undisturbed(settings)
    assert [record["epoch"] for record in run.history] == [1, 2]


class PowerCutError(Exception):
    """Stands for the server's death: nothing more is written."""


def dies_at(epoch: int, step: int) -> Callable[[Event], None]:
    def die() -> None:
        raise PowerCutError

    return at_steps(((epoch, step), die))
