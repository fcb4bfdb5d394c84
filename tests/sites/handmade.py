"""A server written by hand, with a real authority, real sockets and TLS, that says whatever a test wants."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc
import grpc.aio
import torch
from torch import Tensor

from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides
from sglr.engines.remote.engine import Remote
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.service import SERVICE, enrolment, server_credentials
from sglr.engines.remote.wire.frames import Frame, decode, encode
from sglr.engines.remote.wire.layouts import read
from sglr.parties.spec import ClientSpec
from sglr.runs.config import Experiment
from sglr.sites.build_client import SiteConfig
from sglr.sites.join import join
from sglr.sites.own_data import Source
from sglr.sites.requirements import SiteRequirements

from .attacker import NO_LIMITS, NOTHING, envelope
from .federation import SETTINGS

KINDS = frozenset(("hello", "smashed", "weights", "done", "scores", "tally", "leaving", "refusal"))


def honest(settings: Mapping[str, Any] = MappingProxyType({})) -> RunDescription:
    """Describe a run as a real server does."""
    made: list[Remote] = []

    def engine(setting: ClientSpec) -> Remote:
        made.append(Remote(setting))
        return made[0]

    build(Experiment.from_flat({**SETTINGS, **settings, "engine": "remote"}), PartOverrides(engine=engine))
    return made[0]._description


@dataclass
class Line:
    """The server's end of a client's stream."""

    context: grpc.aio.ServicerContext
    seq: int = 0

    async def read(self) -> Frame:
        data = await self.context.read()
        assert data is not grpc.aio.EOF
        return decode(data, 1 << 30, KINDS)

    async def send(
        self,
        kind: str,
        tensors: Mapping[str, Tensor] = NOTHING,
        *,
        at: Mapping[str, int] | None = None,
        **told: Any,
    ) -> None:
        """Send a request with the next number."""
        self.seq += 1
        made = envelope(kind, self.seq, **told)
        for name, value in (at or {}).items():
            setattr(made.where, name, value)
        await self.context.write(encode(made, tensors))

    async def ask(self, kind: str, tensors: Mapping[str, Tensor] = NOTHING, **told: Any) -> Frame:
        """Send a request; return the answer to it."""
        await self.send(kind, tensors, **told)
        frame = await self.read()
        assert frame.envelope.seq == self.seq
        return frame

    async def weights(self) -> dict[str, Tensor]:
        frame = await self.ask("collect")
        return read(frame, {one.name: (torch.float32, tuple(one.shape)) for one in frame.envelope.tensors})


Script = Callable[[Line], Awaitable[None]]


@dataclass
class Server:
    """A server written by hand, with an authority of its own.

    Parameters
    ----------
    folder
        Of its keys, and of the client.
    settings
        Of the run, beside the usual.
    requirements
        Of the client.
    """

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    requirements: SiteRequirements = field(default_factory=SiteRequirements)
    description: bytes = b""
    script: Script | None = None
    problems: list[BaseException] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    _once: bool = False

    def __post_init__(self) -> None:
        self.authority = Authority.open(self.folder / "trust")
        self.told = replace(honest(self.settings), run=self.authority.fingerprint[:32])
        self.description = self.told.encode()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self._ready.wait(10)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = grpc.aio.server(options=NO_LIMITS)
        handlers = {
            "Agreement": grpc.unary_unary_rpc_method_handler(self._description),
            "Train": grpc.stream_stream_rpc_method_handler(self._train),
        }
        server.add_generic_rpc_handlers(
            (enrolment(self.authority), grpc.method_handlers_generic_handler(SERVICE, handlers))
        )
        self.port = server.add_secure_port("127.0.0.1:0", server_credentials(self.authority))
        await server.start()
        self._ready.set()
        await self._over.wait()
        await server.stop(0)

    async def _description(self, request: bytes, context: object) -> bytes:
        del request, context
        return self.description

    async def _train(self, messages: object, context: grpc.aio.ServicerContext) -> None:
        del messages
        assert self.script is not None
        line = Line(context)
        try:
            assert (await line.read()).kind == "hello"
            await context.write(encode(envelope("welcome", session=7, fresh=True, clients=3)))
            await self.script(line)
            await line.send("finish", summary="[" * 9000)
            await line.read()
        except BaseException as problem:
            self.problems.append(problem)
            if self._once:  # else the client comes back for ever
                self._over.set()

    def close(self) -> None:
        with suppress(RuntimeError):  # it is over already
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    def join(self) -> list[bool]:
        """Take part as an honest client."""
        token = self.authority.issue_token(0, timedelta(hours=1))
        own = SiteConfig(source=Source(dataset="digits"), device="cpu", requirements=self.requirements)
        return join(f"127.0.0.1:{self.port}", [token], own, self.folder / "site", patience=5, say=self.said.append)

    def serve(self, script: Script) -> None:
        """Have a client join, play a script to it, and see that both come to the end."""
        self.script, self._once = script, True
        try:
            assert self.join() == [True]
        finally:
            if self.problems:
                raise self.problems[0]
