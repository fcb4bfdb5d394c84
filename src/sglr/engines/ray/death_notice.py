"""The error that is printed if Ray ends this process, as it does, with exit code 1, when its daemon here dies."""

from __future__ import annotations

import subprocess
import sys

_WATCH = "import sys; done, message = sys.stdin.read(), sys.argv[1]; done or print(message, file=sys.stderr)"
MESSAGE = "error: the Ray cluster is gone, or this process was killed; checkpoints are kept, and sglr resume goes on"


class DeathNotice:
    """A child process that prints an error if this process ends without `cancel`.

    It is a process because Ray ends this one without running any more Python.
    """

    def __init__(self) -> None:
        # In a session of its own, it does not get Ctrl-C.
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCH, MESSAGE],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def cancel(self) -> None:
        """Print nothing: this process ends normally."""
        self._watcher.communicate("done")
