"""Relays that stand between clients and a server, each as slow as a link; they carry TLS and can't read it.

A process of its own, so that a client's computing delays no message: ``python -m sglr.engines.remote.link.relay`` reads
one line of JSON, where to connect and the links, answers with the ports that it listens at on this machine, and ends
when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Mapping
from typing import Any

from sglr.engines.remote.link.link import Direction, Link

PIECE = 32 * 1024
"""Most bytes that are delayed as one."""

AHEAD = 0.02
"""Seconds by which a sender may be ahead of its link: what a bottleneck's queue holds."""

MOST_PIECES = 1024
"""Most pieces on their way in a direction: at 5 s and more than 50 Mbit/s the sender waits, as for TCP's window."""


async def relay(host: str, port: int, link: Link, seed: str) -> asyncio.Server:
    """Listen at a free port of this machine, and pass on what comes to ``host:port`` as the link would."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ways = [Direction(link, random.Random(f"{seed} {way}")) for way in ("up", "down")]
        writers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
            writers.append(far_writer)
            await asyncio.sleep(link.rtt)  # of TCP's own handshake
            await asyncio.gather(_pass_on(reader, far_writer, ways[0]), _pass_on(far_reader, writer, ways[1]))
        except OSError:  # one side has gone, so the other is let go at once
            for each in writers:
                each.transport.abort()
        for each in writers:
            each.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction) -> None:
    """Pass on all that comes, each piece at its time, and the end of the stream last."""
    clock = asyncio.get_running_loop().time
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MOST_PIECES)
    delivering = asyncio.create_task(_deliver(pieces, writer))
    try:
        while True:
            data = await reader.read(PIECE)
            leaves, arrives = way.send(clock(), len(data))
            await _put(pieces, (arrives, data), delivering)
            if not data:
                break
            await asyncio.sleep(max(0.0, leaves - clock() - AHEAD))
        await delivering
    finally:
        delivering.cancel()


async def _put(
    pieces: asyncio.Queue[tuple[float, bytes]], piece: tuple[float, bytes], delivering: asyncio.Task[None]
) -> None:
    """Wait for room, unless nobody takes pieces any more; raise what delivering raised."""
    if delivering.done():
        await delivering
    putting = asyncio.ensure_future(pieces.put(piece))
    await asyncio.wait((putting, delivering), return_when=asyncio.FIRST_COMPLETED)
    if not putting.done():
        putting.cancel()
        await delivering


async def _deliver(pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        arrives, data = await pieces.get()
        await asyncio.sleep(max(0.0, arrives - clock()))
        if not data:
            writer.write_eof()
            return
        writer.write(data)
        await writer.drain()


async def serve(told: Mapping[str, Any]) -> None:
    """Open a relay for each link, print their ports, and pass on until standard input ends."""
    servers = [
        await relay(told["host"], told["port"], Link.parse(text), f"{told['port']} {client}")
        for client, text in told["links"].items()
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    sys.stdout.write(json.dumps(dict(zip(told["links"], ports, strict=True))) + "\n")
    sys.stdout.flush()
    ended = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ended), sys.stdin)
    await ended.read()
    os._exit(0)  # connections that are still open need no farewell


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.stdin.readline())))
