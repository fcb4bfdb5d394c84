"""The web server of the page: where it listens, and how it ends."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from sglr.core.errors import UsageError
from sglr.live.access import Access
from sglr.live.app import make_app
from sglr.live.view import View

END_SECONDS = 2
"""How long open streams are given to tell browsers the end."""

MOST_CONNECTIONS = 200
_BACKLOG = 64


class PageServer(uvicorn.Server):
    """Shows a view until it is told to end.

    Parameters
    ----------
    view
        What is shown.
    listening
        The socket; see `bind`.
    token
        The secret in the page's address.
    """

    def __init__(self, view: View, listening: socket.socket, token: str) -> None:
        host, port = listening.getsockname()[:2]
        self.access = Access(host, port, token)
        self._listening = listening
        app = make_app(view, self.access, lambda: self.should_exit)
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=END_SECONDS,
            )
        )

    def show(self) -> None:
        """Serve the page, in this thread, until `end`."""
        self.run([self._listening])

    def end(self, *signal: object) -> None:
        """End soon; may be called from anywhere, and is a handler of signals."""
        del signal
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever shows the page."""
        yield


def bind(host: str, port: int, field: str, *, or_any: bool = False) -> socket.socket:
    """Return a socket that listens at an address.

    Parameters
    ----------
    host, port
        Where; port 0 is any that is free.
    field
        The option that names the address, for messages.
    or_any
        Whether to take any free port if this one is taken.

    Raises
    ------
    UsageError
        If that can't be.
    """
    try:
        return _bound(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and or_any:
            return _bound(host, 0)
        problem = f"can't listen there ({error.strerror or error})"
        raise UsageError(field, f"{host}:{port}", problem, "free it, or give another address") from error


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    found = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(_BACKLOG)
    except OSError:
        found.close()
        raise
    return found
