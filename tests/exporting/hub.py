"""A hub on this machine: an HTTP server that speaks what a push needs, and keeps what it was sent."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Hub:
    """What it was sent.

    Parameters
    ----------
    address
        Its address, for ``HF_ENDPOINT``.
    made
        The repositories that were asked for.
    files
        Files of the commits by path.
    tokens
        The tokens that came.
    """

    address: str = ""
    made: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub on a free port of loopback."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hub.tokens.add(self.headers.get("authorization"))
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            answer = json.dumps(_answer(hub, self.path, body)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def _answer(hub: Hub, path: str, body: bytes) -> dict[str, Any]:
    if path == "/api/repos/create":
        hub.made.append(json.loads(body))
        return {"url": f"{hub.address}/owner/name"}
    if path == "/api/validate-yaml":
        return {"errors": [], "warnings": []}
    if path.endswith("/preupload/main"):
        files = json.loads(body)["files"]
        return {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]}
    assert path.endswith("/commit/main"), path
    for line in map(json.loads, body.splitlines()):
        if line["key"] == "file":
            hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
    return {"success": True, "commitUrl": f"{hub.address}/owner/name/commit/1", "commitOid": "1"}
