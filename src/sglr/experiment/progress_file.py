"""How far a run is, in a file that others read while it trains: ``metrics.jsonl`` grows only once an epoch."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sglr.core.errors import Interrupted
from sglr.core.events import StepDone
from sglr.runs.folder import PROGRESS
from sglr.storage.files import write_text

SECONDS = 0.75
"""How often the file is written, at most: with what else takes time, a change is seen within a second."""

PACE_LOOKS = 12
"""Over how many writings the speed is measured."""

MOST_WHY = 500


class ProgressFile:
    """Writes ``progress.json`` while a run trains; a run that is finished has none.

    Parameters
    ----------
    folder
        The run's folder.
    describe
        Returns further figures.
    """

    def __init__(self, folder: Path, describe: Callable[[], Mapping[str, Any]]) -> None:
        self._path, self._describe = folder / PROGRESS, describe
        self._told: dict[str, Any] = {}
        self._samples, self._next = 0, 0.0
        self._looks: deque[tuple[float, int]] = deque(maxlen=PACE_LOOKS)

    def __enter__(self) -> Self:
        self._write("training")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        else:
            self._write("stopped" if isinstance(error, (Interrupted, KeyboardInterrupt)) else "failed", str(error))

    def step(self, event: StepDone) -> None:
        """Take note of a step."""
        self._samples += event.samples
        now = time.monotonic()
        if now < self._next:
            return
        self._looks.append((now, self._samples))
        self._told = {"epoch": event.epoch + 1, "epochs": event.epochs, "step": event.step, "steps": event.steps}
        self._write("training")

    def test(self) -> None:
        """Tell that the training is over, and the network is tested."""
        self._write("testing")

    def _write(self, state: str, why: str = "") -> None:
        self._next = time.monotonic() + SECONDS
        told = {**self._told, "samples_per_second": self._pace()}
        content = {"state": state, "why": why[:MOST_WHY], **told, **self._describe(), "updated": time.time()}
        with suppress(OSError):  # a full disk: the run is more important
            write_text(self._path, json.dumps(content) + "\n", durable=False)

    def _pace(self) -> float | None:
        """Return samples per second over the last looks; None before there are two."""
        if len(self._looks) < 2:
            return None
        (began, before), (now, samples) = self._looks[0], self._looks[-1]
        return (samples - before) / (now - began)
