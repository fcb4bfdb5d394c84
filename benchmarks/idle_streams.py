"""A bare gRPC server with mutual TLS and streams that nobody asks anything: the floor under `many_clients.py`."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from sglr.engines.remote.client.connection import OPTIONS as CLIENT_OPTIONS
from sglr.engines.remote.server.listen import OPTIONS, most_connections
from sglr.engines.remote.trust import certificates as made
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.connection import CHANNEL_OPTIONS
from sglr.engines.remote.trust.peers import Applicant
from sglr.engines.remote.trust.service import SERVICE, server_credentials
from sglr.engines.remote.trust.token import Token

STREAM = f"/{SERVICE}/Train"


def resident() -> float:
    """Return this process's memory in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def bare(streams: int, processes: int, folder: Path) -> dict[str, float]:
    """Measure a bare server: seconds until all streams are open, and the memory that they take."""
    authority = Authority.open(folder)
    told = [
        [_identity(authority, client) for client in range(number, streams, processes)] for number in range(processes)
    ]
    return asyncio.run(_serve(authority, told, streams))


def _identity(authority: Authority, client: int) -> tuple[str, str]:
    """Return a key and its certificate, made here: what a client has after its enrolment."""
    token, key = Token.parse(authority.issue_token(client, timedelta(hours=1))), made.new_key()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    certificate = authority.enrol(Applicant(token.id, client), request.public_bytes(Encoding.PEM))
    return made.key_pem(key).decode(), certificate.decode()


async def _serve(authority: Authority, told: list[list[tuple[str, str]]], streams: int) -> dict[str, float]:
    arrived, over = asyncio.Queue[bytes](), asyncio.Event()

    async def handle(messages: object, context: grpc.aio.ServicerContext) -> None:
        del messages
        arrived.put_nowait(await context.read())
        await context.write(b"welcome")
        await over.wait()

    server = grpc.aio.server(options=[*OPTIONS, ("grpc.max_allowed_incoming_connections", most_connections())])
    handlers = {"Train": grpc.stream_stream_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(authority))
    await server.start()
    clients = [start(__file__) for _ in told]
    before, spent, began = resident(), time.process_time(), time.perf_counter()
    for process, identities in zip(clients, told, strict=True):
        tell(process, {"port": port, "root": authority.certificate.decode(), "identities": identities})
    for _ in range(streams):
        await arrived.get()
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    await asyncio.sleep(1)
    after = resident()
    over.set()
    await server.stop(1)
    for process in clients:
        await asyncio.to_thread(process.wait, 60)
    return {"clients_mb": after - before, "joining_s": seconds, "server_cpu_s": spent}


def start(program: str) -> subprocess.Popen[bytes]:
    """Start a process of clients, and wait until it has imported what it needs."""
    command = [sys.executable, program, "--clients-of"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def tell(process: subprocess.Popen[bytes], what: dict[str, object]) -> None:
    """Tell a process what to do: tokens of hundreds of clients are too much for a command line."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(what).encode())
    process.stdin.close()


def told() -> dict[str, Any]:
    """Say that this process is ready, and return what it is told to do."""
    print("ready", flush=True)
    found: dict[str, Any] = json.load(sys.stdin)
    return found


async def _streams(port: int, root: str, identities: list[tuple[str, str]]) -> None:
    async def stream(key: str, certificate: str) -> None:
        credentials = grpc.ssl_channel_credentials(root.encode(), key.encode(), certificate.encode())
        options = [*CHANNEL_OPTIONS, *CLIENT_OPTIONS]
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            call = channel.stream_stream(STREAM)()
            await call.write(b"hello")
            while await call.read() is not grpc.aio.EOF:
                pass

    await asyncio.gather(*(stream(*identity) for identity in identities))


if __name__ == "__main__":
    asyncio.run(_streams(**told()))
