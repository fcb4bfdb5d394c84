"""What a server opens with: where, for which run, with which limits; and who may take part."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from sglr.core.errors import UsageError
from sglr.engines.remote.run_description import CONNECTION, Agreement
from sglr.engines.remote.wire import probe
from sglr.engines.remote.wire.frames import Frame
from sglr.engines.remote.wire.messages_pb2 import Hello

MOST_SAMPLES, MOST_HELD = 10**8, 10**6
"""Samples to train on and to score on that a client may tell of: one that tells of more only wants to waste time."""

OPTIONS: tuple[tuple[str, Any], ...] = (
    *CONNECTION,
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 4_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_concurrent_streams", 8),
    ("grpc.server_handshake_timeout_ms", 15_000),
    # Who has a certificate and asks nothing keeps no connection.
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.so_reuseport", 0),
)

MOST_FILES = 65536
"""Files and connections that a server asks the system for."""


def most_connections() -> int:
    """Let this process open many files, and return half of them: connections must leave some for checkpoints."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return (wanted if soft == resource.RLIM_INFINITY else soft) // 2


@dataclass(frozen=True)
class Opening:
    """What a server opens with.

    Parameters
    ----------
    host, port
        Where it listens; port 0 takes a free one.
    agreement
        What it tells clients of the run.
    most_bytes
        Length of the longest message.
    sizes
        |D_i| of every client where it is known; else 0.
    held
        How many samples every client scores on, by ``"validation"`` and ``"test"``, where that is known.
    """

    host: str
    port: int
    agreement: Agreement
    most_bytes: int
    sizes: Sequence[int]
    held: Mapping[str, int] = field(default_factory=dict)

    def listen(
        self, credentials: grpc.ServerCredentials, handlers: Sequence[grpc.GenericRpcHandler]
    ) -> tuple[grpc.aio.Server, int]:
        """Return a server that is ready to start, and the port that it listens at.

        Raises
        ------
        UsageError
            If the address can't be listened at.
        """
        most = max(self.most_bytes, probe.MOST_BYTES)
        limits = [("grpc.max_receive_message_length", most), ("grpc.max_send_message_length", -1)]
        limits.append(("grpc.max_allowed_incoming_connections", most_connections()))
        server = grpc.aio.server(options=[*OPTIONS, *limits])
        server.add_generic_rpc_handlers(handlers)
        address = f"{self.host}:{self.port}"
        try:
            return server, server.add_secure_port(address, credentials)
        except RuntimeError as error:
            problem = f"cannot be listened at ({str(error).partition(';')[0]})"
            raise UsageError("listen", address, problem, "is another server running there? choose another") from error

    def problem(self, client: int, hello: Frame) -> str:
        """Say what keeps a client from taking part, by what it tells of itself; nothing if it may."""
        told = hello.envelope.hello
        if told.run != self.agreement.run:
            return "this is another run than the client's: give the client a new folder and a new token"
        if told.segment != self.agreement.network:
            return (
                "the client's segment is not the server's: another version of the model's code, of sglr or of torch, "
                "another cut, or other frozen weights"
            )
        return self._samples_problem(told, self.sizes[client]) or self._held_problem(told)

    def _samples_problem(self, told: Hello, known: int) -> str:
        if known and told.samples != known:
            return f"the client has {told.samples} samples, where the division of the data gives it {known}"
        if not 0 < told.samples <= MOST_SAMPLES:
            return f"the client tells of {told.samples} samples; 1 to {MOST_SAMPLES} are possible"
        return ""

    def _held_problem(self, told: Hello) -> str:
        for part, found in (("validation", told.validation), ("test", told.test)):
            if found != self.held.get(part, found):
                return f"the client has {found} samples for {part}, where the run has {self.held[part]}"
            if found > MOST_HELD:
                return f"the client tells of {found} samples for {part}, more than {MOST_HELD}"
        return ""
