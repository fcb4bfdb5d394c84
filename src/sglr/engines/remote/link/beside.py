"""Start a process of relays beside a client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sglr.core.errors import SglrError
from sglr.engines.remote.link.link import Link
from sglr.engines.remote.trust.connection import parse_address

END_SECONDS = 5.0


@contextmanager
def relays(address: str, links: Mapping[int, Link]) -> Iterator[dict[int, str]]:
    """Yield the address of a relay to the server for every client that has a link; they end with the block.

    Parameters
    ----------
    address
        ``HOST:PORT`` of the server.
    links
        The links, by the client's number.

    Raises
    ------
    SglrError
        If the relays do not start.
    """
    if not links:
        yield {}
        return
    host, port = parse_address(address)
    told = {"host": host, "port": port, "links": {str(client): link.text for client, link in links.items()}}
    words = [sys.executable, "-P", "-m", "sglr.engines.remote.link.relay"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise SglrError(f"the relays for --link did not start (exit code {process.wait()})")
        try:
            yield {int(client): f"127.0.0.1:{own}" for client, own in json.loads(answer).items()}
        finally:
            process.stdin.close()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
