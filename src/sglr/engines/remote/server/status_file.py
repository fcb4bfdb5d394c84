"""The status of a run, in a file that can be read on the server's machine at any time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sglr.core.errors import NotRead
from sglr.storage.files import write_text
from sglr.storage.json_files import read_object

SECONDS = 0.75
"""How often the file is written: with what else takes time, a change is seen within a second."""


class StatusFile:
    """Writes ``status.json`` about every second, atomically.

    Parameters
    ----------
    path
        The file.
    describe
        Returns the status.
    """

    def __init__(self, path: Path, describe: Callable[[], Mapping[str, Any]]) -> None:
        self._path, self._describe = path, describe
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="sglr-status", daemon=True)

    def read(self) -> dict[str, Any]:
        """Return what was written last, by an earlier process, too; empty if it can't be read."""
        try:
            return read_object(self._path) or {}
        except (NotRead, ValueError):
            return {}

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, state: str, why: str = "") -> None:
        """Write how it ended and why, and stop."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(5)
        self._write({"state": state, "why": why})

    def _write_on(self) -> None:
        while not self._over.wait(SECONDS):
            self._write({})

    def _write(self, further: Mapping[str, Any]) -> None:
        content = {**self._describe(), **further, "updated": time.time()}
        with suppress(OSError):  # a full disk: the run is more important than its status
            # Without an indent, which costs ten times as much with 500 clients.
            write_text(self._path, json.dumps(content) + "\n", durable=False)
