"""A client that was let in and then misbehaves: it speaks the protocol by hand, message by message."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import torch
from torch import Tensor

from sglr.engines.remote.client.connection import OPTIONS, SERVER_KINDS
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.trust.identity import Identity
from sglr.engines.remote.wire.frames import Frame, decode, encode
from sglr.engines.remote.wire.messages_pb2 import Envelope

from .federation import Federation

NOTHING: Mapping[str, Tensor] = {}
NO_LIMITS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
SECONDS = 30.0


def envelope(kind: str, seq: int = 0, **told: Any) -> Envelope:
    """Return an envelope with a body of a kind."""
    made = Envelope(seq=seq)
    body = getattr(made, kind)
    body.SetInParent()
    for name, value in told.items():
        if isinstance(value, list):
            getattr(body, name).extend(value)
        else:
            setattr(body, name, value)
    return made


@dataclass
class Line:
    """An attacker's stream to the server."""

    call: Any
    description: RunDescription
    here: threading.Event

    async def send(self, kind: str, tensors: Mapping[str, Tensor] = NOTHING, seq: int = 0, **told: Any) -> None:
        """Send a message that is made like any other."""
        await self.raw(encode(envelope(kind, seq, **told), tensors))

    async def raw(self, data: bytes) -> None:
        """Send bytes."""
        await self.call.write(data)

    async def hello(self, **told: Any) -> None:
        """Say who it is, like an honest client where nothing else is told."""
        honest = {"run": self.description.run, "segment": self.description.segment}
        await self.send("hello", **(honest | {"samples": 20, "validation": 30, "test": 40} | told))

    async def next(self) -> Frame | None:
        """Return the server's next message; None at the end."""
        data = await self.call.read()
        if data is grpc.aio.EOF:
            return None
        frame = decode(data, 1 << 30, SERVER_KINDS)
        if frame.kind == "welcome":
            self.here.set()
        return frame

    async def asked(self, kind: str) -> Frame:
        """Do as an honest client does until a request of ``kind`` comes; return it."""
        while (frame := await self.next()) is not None:
            if frame.kind == kind:
                return frame
            if frame.kind in ("snapshot", "digest"):
                await self.send("done", seq=frame.envelope.seq, digest="ab" * 32)
        raise asyncio.InvalidStateError("the server ended the stream")

    def smashed(self) -> dict[str, Tensor]:
        """Return what an honest client could send of eight samples."""
        return {"values": torch.zeros(8, *self.description.cut_shape), "labels": torch.zeros(8, dtype=torch.int64)}


Act = Callable[[Line], Awaitable[None]]


@dataclass
class Attacker:
    """A client with a certificate and bad manners.

    Parameters
    ----------
    client
        Which one.
    act
        What it does with its stream.
    compression
        gRPC's, of its messages.

    Attributes
    ----------
    code, details
        How the server ended its stream.
    here
        Set once the server has let it in.
    """

    client: int
    act: Act
    compression: grpc.Compression | None = None
    code: grpc.StatusCode | None = None
    details: str = ""
    here: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def enrol(self, federation: Federation, folder: Path) -> None:
        """Get a certificate."""
        assert federation.authority is not None
        assert federation.engine is not None
        token = federation.authority.issue_token(self.client, timedelta(hours=1))
        self.address = f"127.0.0.1:{federation.ports[0]}"
        self.identity = Identity.enrol(self.address, token, folder)
        self.description = federation.engine.connections.run.description

    async def attack(self) -> None:
        """Act until the server ends the stream."""
        async with self.identity.channel(self.address, (*OPTIONS, *NO_LIMITS)) as channel:
            call = channel.stream_stream("/sglr.Split/Train")(compression=self.compression)
            try:
                await asyncio.wait_for(self.act(Line(call, self.description, self.here)), SECONDS)
                while await asyncio.wait_for(call.read(), SECONDS) is not grpc.aio.EOF:
                    pass
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass
            self.code, self.details = await asyncio.wait_for(call.code(), SECONDS), await call.details() or ""
        self.over.set()


class Gang:
    """Attackers in one thread, beside the honest clients of a federation.

    Parameters
    ----------
    federation
        Whose server they attack.
    acts
        What each of them does; they are the last clients.
    """

    def __init__(self, federation: Federation, acts: Sequence[Act | Attacker]) -> None:
        first = federation.experiment.clients - len(acts)
        self.federation, self.attackers = federation, [_attacker(first + n, act) for n, act in enumerate(acts)]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._attack()), name="attackers")

    def begin(self) -> None:
        """Begin, and return once each is let in or turned away."""
        for attacker in self.attackers:
            attacker.enrol(self.federation, self.federation.folder / f"attacker-{attacker.client}")
        self._thread.start()
        for attacker in self.attackers:
            while not attacker.here.wait(0.02):
                if attacker.over.is_set() or not self._thread.is_alive():
                    break

    async def _attack(self) -> None:
        await asyncio.gather(*(attacker.attack() for attacker in self.attackers))

    def end(self) -> None:
        """Wait until each was turned away."""
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), [one.client for one in self.attackers if not one.over.is_set()]
        assert all(attacker.over.is_set() for attacker in self.attackers)

    def comes_back(self) -> list[tuple[grpc.StatusCode | None, str]]:
        """Say Hello once more with each certificate; return how the server answers."""

        async def only_hello(line: Line) -> None:
            await line.hello()

        async def everyone() -> None:
            calling = self.attackers
            for _ in range(5):
                await asyncio.gather(*(attacker.attack() for attacker in calling))
                # grpc fails by itself where a stream ends while it is written to; a client calls again then.
                calling = [attacker for attacker in calling if attacker.code is grpc.StatusCode.INTERNAL]

        for attacker in self.attackers:
            attacker.act, attacker.compression = only_hello, None
        asyncio.run(everyone())
        return [(attacker.code, attacker.details) for attacker in self.attackers]


def _attacker(client: int, act: Act | Attacker) -> Attacker:
    if isinstance(act, Attacker):
        act.client = client
        return act
    return Attacker(client, act)
