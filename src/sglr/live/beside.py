"""The page of a training in a process of its own beside it, which ends with it however that ends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sglr.live.access import Access, new_token

END_SECONDS = 5.0


@contextmanager
def page_beside(folder: Path, listening: socket.socket) -> Iterator[str]:
    """Show the run in ``folder``, which may be made later, while the ``with`` block lasts; yield the page's address.

    Parameters
    ----------
    folder
        The run's folder.
    listening
        The socket, which the page's process takes over.
    """
    host, port = listening.getsockname()[:2]
    token = new_token()
    with listening:
        process = subprocess.Popen(
            [sys.executable, "-m", "sglr.live.page_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[listening.fileno()],
            # Ctrl-C goes to all processes of a terminal; this one is to show how the training ends.
            start_new_session=True,
        )
        told = {"folder": str(folder.resolve()), "socket": listening.fileno(), "token": token}
        assert process.stdin is not None, "it was opened as a pipe"
        # Not in its arguments, which every user of the machine can read. It ends when the pipe does.
        process.stdin.write(json.dumps(told).encode() + b"\n")
        process.stdin.flush()
    try:
        yield Access(host, port, token).address
    finally:
        process.stdin.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
