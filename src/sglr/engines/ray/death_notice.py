"""What is said when Ray ends this process: it does so at once, with exit code 1, if the machine's part of Ray dies."""

from __future__ import annotations

import subprocess
import sys

_WATCH = "import sys; told, words = sys.stdin.read(), sys.argv[1]; told or print(words, file=sys.stderr)"
TOLD = "error: the Ray cluster is gone, or this process was killed; checkpoints are kept, and sglr resume goes on"


class LastWords:
    """A process that speaks for this one, should it end without `withdraw`.

    It is a process, because Ray runs no Python any more when it ends one.
    """

    def __init__(self) -> None:
        # In a session of its own, Ctrl-C does not reach it.
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCH, TOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def withdraw(self) -> None:
        """Say nothing: this process can speak for itself."""
        self._watcher.communicate("done")
