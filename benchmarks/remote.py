"""What the remote engine costs per step beyond computing, against a bare gRPC echo of the same bytes with the same TLS.

20 clients in one process, the server in another, both on this machine, mutual TLS over loopback. In each step every
client sends 256 KiB and receives 256 KiB. The segment is one multiplication, so that little is computed; what that
takes by itself is measured too, and subtracted.

    python benchmarks/remote.py --write
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import torch
from torch import nn

from record import write_result
from sglr.core.data import ClientData, Samples
from sglr.core.optim import OptimizerSpec
from sglr.core.task import Targets
from sglr.core.types import Downlink
from sglr.data.batches import Batching
from sglr.engines.remote.client.connection import OPTIONS as CLIENT_OPTIONS
from sglr.engines.remote.client.connection import ClientConnection, ClientContext
from sglr.engines.remote.client.job import Job
from sglr.engines.remote.client.snapshots import Snapshots
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.engine import Remote
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.segment_hash import segment_hash
from sglr.engines.remote.server.listen import OPTIONS as SERVER_OPTIONS
from sglr.engines.remote.server.listen import Listen
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.identity import Identity
from sglr.engines.remote.trust.service import SERVICE, enrolment, server_credentials
from sglr.parties.spec import ClientSpec
from sglr.system.allocator import keep_freed_memory
from sglr.tasks.classification import Classification

VALUES, BATCH = 8192, 8  # 8 samples of 8,192 float32: 256 KiB
PAYLOAD = 4 * VALUES * BATCH


class Scale(nn.Module):
    """One weight per value: as little computing as a segment can have."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(VALUES))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.weight


def setting(clients: int) -> ClientSpec:
    """Describe clients that tell themselves how many samples they have."""
    inputs = torch.zeros(0, VALUES)
    rows = tuple(torch.zeros(0, dtype=torch.int64) for _ in range(clients))
    none = Samples(inputs, torch.zeros(0, dtype=torch.int64))
    data = ClientData(none, rows, None, none, Targets.of_classes(tuple("ab")))
    return ClientSpec(
        lambda _: Scale(), data, Classification(), BATCH, OptimizerSpec.parse("sgd"), None, 0, torch.device("cpu")
    )


def engine_side(clients: int, steps: int, folder: Path) -> dict[str, float]:
    """Run the engine's server and time its steps."""
    started: list[subprocess.Popen[bytes]] = []

    def opened(port: int, authority: Authority) -> None:
        tokens = [authority.issue_token(client, timedelta(hours=1)) for client in range(clients)]
        started.append(start_clients("engine", port, tokens, folder, steps))

    engine = Remote(setting(clients), Listen(local_clients=False, opened=opened))
    engine.attach(folder / "server")
    everyone = tuple(range(clients))
    seconds = []
    engine.begin_epoch(everyone, 0)
    for step in range(steps):
        began = time.perf_counter()
        uplink = engine.forward(step)
        assert uplink is not None
        engine.backward(Downlink(uplink.smashed), 0.0)
        seconds.append(time.perf_counter() - began)
    engine.close(done=True)
    started[0].wait(60)
    return {"step_ms": 1e3 * statistics.median(seconds[5:])}


def computing(clients: int, steps: int) -> float:
    """Return the milliseconds of a step that all clients' segments take by themselves, one after another."""
    trainers = [LocalTrainer(make_task(client, noise(steps))) for client in range(clients)]
    seconds = []
    for step in range(steps):
        began = time.perf_counter()
        for trainer in trainers:
            smashed = trainer.forward(0, step)["values"]
            trainer.backward(smashed, 0.0)
        seconds.append(time.perf_counter() - began)
    return 1e3 * statistics.median(seconds[5:])


def noise(steps: int) -> Samples:
    """Make a client's samples."""
    return Samples(torch.randn(steps * BATCH, VALUES), torch.zeros(steps * BATCH, dtype=torch.int64))


def make_task(client: int, samples: Samples) -> Job:
    """Describe what a client computes."""
    return Job(
        client,
        Scale(),
        samples,
        {},
        Classification(),
        Targets.of_classes(tuple("ab")),
        Batching(BATCH),
        OptimizerSpec.parse("sgd"),
    )


def echo_side(clients: int, steps: int, folder: Path) -> dict[str, float]:
    """Send the same bytes over bare bidirectional streams with the same TLS, and time it."""
    authority = Authority.open(folder / "trust")
    arrived = asyncio.Queue[int]()
    result: dict[str, float] = {}

    async def serve() -> None:
        queues: list[asyncio.Queue[bytes | None]] = []

        async def handle(messages: object, context: grpc.aio.ServicerContext) -> None:
            del messages
            queue: asyncio.Queue[bytes | None] = asyncio.Queue()
            queues.append(queue)

            async def write() -> None:
                while (data := await queue.get()) is not None:
                    await context.write(data)

            writing = asyncio.create_task(write())
            while (data := await context.read()) is not grpc.aio.EOF:
                arrived.put_nowait(len(data))
            await writing

        server = grpc.aio.server(options=[*SERVER_OPTIONS, ("grpc.max_receive_message_length", 1 << 24)])
        handlers = {"Train": grpc.stream_stream_rpc_method_handler(handle)}
        server.add_generic_rpc_handlers((enrolment(authority), grpc.method_handlers_generic_handler(SERVICE, handlers)))
        port = server.add_secure_port("127.0.0.1:0", server_credentials(authority))
        await server.start()
        tokens = [authority.issue_token(client, timedelta(hours=1)) for client in range(clients)]
        process = start_clients("echo", port, tokens, folder, steps)
        for _ in range(clients):
            await arrived.get()
        payload, seconds = bytes(PAYLOAD), []
        for _ in range(steps):
            began = time.perf_counter()
            for queue in queues:
                queue.put_nowait(payload)
            for _ in range(clients):
                await arrived.get()
            seconds.append(time.perf_counter() - began)
        for queue in queues:
            queue.put_nowait(None)
        await server.stop(1)
        await asyncio.to_thread(process.wait, 60)
        result["step_ms"] = 1e3 * statistics.median(seconds[5:])

    asyncio.run(serve())
    return result


def start_clients(kind: str, port: int, tokens: list[str], folder: Path, steps: int) -> subprocess.Popen[bytes]:
    """Start the process of all clients."""
    told = json.dumps({"kind": kind, "port": port, "tokens": tokens, "folder": str(folder / "sites"), "steps": steps})
    return subprocess.Popen([sys.executable, __file__, "--clients-of", told])


def client_process(told: dict[str, object]) -> None:
    """Be all clients."""
    torch.set_num_threads(1)
    keep_freed_memory()
    address, steps = f"127.0.0.1:{told['port']}", int(str(told["steps"]))
    tokens = [str(token) for token in told["tokens"]]  # type: ignore[attr-defined]
    folder = Path(str(told["folder"]))
    identities = [Identity.enrol(address, token, folder / str(place)) for place, token in enumerate(tokens)]
    asyncio.run(
        engine_clients(address, identities, folder, steps) if told["kind"] == "engine" else echoes(address, identities)
    )


async def echoes(address: str, identities: list[Identity]) -> None:
    async def echo(identity: Identity) -> None:
        options = [*CLIENT_OPTIONS, ("grpc.max_receive_message_length", 1 << 24)]
        async with identity.channel(address, options) as channel:
            call = channel.stream_stream("/sglr.Split/Train")()
            await call.write(bytes(PAYLOAD))
            with contextlib.suppress(grpc.aio.AioRpcError):
                while (data := await call.read()) is not grpc.aio.EOF:
                    await call.write(data)

    await asyncio.gather(*(echo(identity) for identity in identities))


async def engine_clients(address: str, identities: list[Identity], folder: Path, steps: int) -> None:
    samples = noise(steps)
    segment = segment_hash(Scale(), (VALUES,), (VALUES,))
    with identities[0].sync_channel(address) as channel:
        description = RunDescription.decode(channel.unary_unary("/sglr.Split/Agreement")(b""))
    with ThreadPoolExecutor(1) as computing:
        clients = []
        for identity in identities:
            task = make_task(identity.client, samples)
            snapshots = Snapshots(folder / f"{identity.client}-snapshots", description.run, 3)
            clients.append(
                ClientConnection(
                    ClientContext(identity, address, description, segment, LocalTrainer(task), snapshots), computing, 60
                )
            )
        await asyncio.gather(*(client.run() for client in clients))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--clients-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.clients_of:
        client_process(json.loads(arguments.clients_of))
        return
    torch.set_num_threads(1)
    keep_freed_memory()
    found = {}
    for name, side in (("echo", echo_side), ("engine", engine_side), ("echo again", echo_side)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = side(arguments.clients, arguments.steps, Path(folder))
        print(name, {key: round(value, 2) for key, value in found[name].items()}, flush=True)
    bare = statistics.mean([found["echo"]["step_ms"], found["echo again"]["step_ms"]])
    computed = computing(arguments.clients, arguments.steps)
    beyond = found["engine"]["step_ms"] - computed
    print(f"engine beyond computing {beyond:.1f} ms, bare echo {bare:.1f} ms: {beyond / bare:.2f} x")
    result = {
        "clients": arguments.clients,
        "payload_bytes": PAYLOAD,
        **found,
        "computing_ms": computed,
        "ratio": beyond / bare,
    }
    write_result("remote", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
