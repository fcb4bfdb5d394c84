"""The process that shows the page of a training: ``python -m sglr.live.page_process``, started by `page_beside`.

It is told by its standard input what to show, and ends when that does: also if the training is killed.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from pathlib import Path

from sglr.live.run_view import RunView
from sglr.live.server import PageServer


def main() -> None:
    """Show the page until standard input ends."""
    told = json.loads(sys.stdin.buffer.readline())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    server = PageServer(RunView(Path(told["folder"])), socket.socket(fileno=told["socket"]), told["token"])
    threading.Thread(target=_end_with_input, args=(server,), daemon=True).start()
    server.show()


def _end_with_input(server: PageServer) -> None:
    while sys.stdin.buffer.read(1):
        pass
    server.end()


if __name__ == "__main__":
    main()
