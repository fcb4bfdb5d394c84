"""Pages on real loopback ports, asked over HTTP."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import sglr
from sglr.live.server import PageServer, bind
from sglr.live.view import View

TOKEN = "a-token-that-only-the-test-knows"


@dataclass
class Answer:
    """What a page answered."""

    code: int
    headers: dict[str, str]
    body: bytes


class Page:
    """A page that runs in a thread of this process."""

    def __init__(self, view: View, host: str) -> None:
        self.server = PageServer(view, bind(host, 0, "listen"), TOKEN)
        self.port = self.server.access.port
        self.thread = threading.Thread(target=self.server.show, name="the page")
        self.thread.start()

    @property
    def cookie(self) -> str:
        return f"{self.server.access.cookie}={TOKEN}"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(self, path: str, *, method: str = "GET", body: object = None, **headers: str) -> Answer:
        """Send one request; underscores in names of headers stand for hyphens."""
        connection = self.connect()
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, told)
        found = connection.getresponse()
        answer = Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
        connection.close()
        return answer

    def secret(self) -> str:
        """Return what the page sends along with a request to stop."""
        found: str = json.loads(self.ask("/session", Cookie=self.cookie).body)["page"]
        return found

    def end(self) -> None:
        self.server.end()
        self.thread.join(20)
        assert not self.thread.is_alive()


class Stream:
    """Server-sent events of a page."""

    def __init__(self, page: Page, path: str = "/events", **headers: str) -> None:
        self.connection = page.connect()
        self.connection.request("GET", path, headers=headers)
        self.answer = self.connection.getresponse()

    def next(self) -> tuple[str, Any]:
        """Return the next event's name and content; comments are passed over."""
        name = ""
        while line := self.answer.readline().decode().rstrip("\n"):
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                content = json.loads(line.removeprefix("data: "))
        return (name, content) if name else self.next()

    def until(self, section: str) -> Any:
        """Return the section of the next event that has it."""
        while True:
            content = self.next()[1]
            if section in content:
                return content[section]

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


@pytest.fixture
def open_page() -> Iterator[Callable[..., Page]]:
    """Show a view on a page, which ends with the test."""
    pages: list[Page] = []

    def show(view: View, host: str = "127.0.0.1") -> Page:
        pages.append(Page(view, host))
        return pages[-1]

    yield show
    for page in pages:
        page.end()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a run of five clients after three epochs."""
    from .made_up import make_folder

    return make_folder(tmp_path / "run", 5, 3)


@pytest.fixture(scope="session")
def finished(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Return a finished run of four simulated clients."""
    settings: dict[str, Any] = {"clients": 4, "samples_per_client": 16, "epochs": 2, "model": "mlp", "device": "cpu"}
    return once("a run to look at", lambda path: sglr.train("sglr", out=path, **settings))
