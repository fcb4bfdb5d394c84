"""The clients of `remote.py`, several to a process: of the engine, or of a bare echo."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import grpc
import grpc.aio
import torch
from torch import nn

from sglr.core.data import Samples
from sglr.core.optim import OptimizerSpec
from sglr.core.task import Targets
from sglr.data.batches import Batching
from sglr.engines.remote.client.computing import Computing
from sglr.engines.remote.client.connection import OPTIONS, ClientConnection, ClientContext
from sglr.engines.remote.client.job import Job
from sglr.engines.remote.client.snapshots import Snapshots
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.segment_hash import segment_hash
from sglr.engines.remote.trust.identity import Identity
from sglr.system.allocator import keep_freed_memory
from sglr.tasks.classification import Classification

VALUES, BATCH = 8192, 8  # 8 samples of 8,192 float32: 256 KiB
PAYLOAD = 4 * VALUES * BATCH
SPENT = "computing-ms"
"""The file in which a process of clients says how much processor time a step its trainers took."""


class Scale(nn.Module):
    """One weight per value: as little computing as a segment can have."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(VALUES))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.weight


class Timed(LocalTrainer):
    """A trainer that adds up the processor time of its passes where it happens: between messages, with cold caches."""

    spent = 0.0

    def forward(self, epoch: int, step: int) -> dict[str, torch.Tensor]:
        """Run forward."""
        began = time.thread_time()
        parts = super().forward(epoch, step)
        self.spent += time.thread_time() - began
        return parts

    def backward(self, gradient: torch.Tensor, rate: float, *, kept: bool = False) -> None:
        """Step back."""
        began = time.thread_time()
        super().backward(gradient, rate, kept=kept)
        self.spent += time.thread_time() - began


def start(kind: str, port: int, tokens: Sequence[str], folder: Path, steps: int, processes: int) -> list[BaseProcess]:
    """Start processes that share the clients; what they import is imported once."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["remote_clients"])
    started: list[BaseProcess] = []
    for number in range(processes):
        own = tokens[number::processes]
        process = context.Process(target=run, args=(kind, port, own, folder / f"sites-{number}", steps))
        process.start()
        started.append(process)
    return started


def run(kind: str, port: int, tokens: Sequence[str], folder: Path, steps: int) -> None:
    """Be the clients of these tokens."""
    torch.set_num_threads(1)
    keep_freed_memory()
    address = f"127.0.0.1:{port}"
    identities = [Identity.enrol(address, token, folder / str(place)) for place, token in enumerate(tokens)]
    clients = engine_clients(address, identities, folder, steps) if kind == "sglr" else echoes(address, identities)
    asyncio.run(clients)


async def echoes(address: str, identities: Sequence[Identity]) -> None:
    """Send back what comes."""

    async def echo(identity: Identity) -> None:
        options = [*OPTIONS, ("grpc.max_receive_message_length", 1 << 24)]
        async with identity.channel(address, options) as channel:
            call = channel.stream_stream("/sglr.Split/Train")()
            await call.write(bytes(PAYLOAD))
            with contextlib.suppress(grpc.aio.AioRpcError):
                while (data := await call.read()) is not grpc.aio.EOF:
                    await call.write(data)

    await asyncio.gather(*(echo(identity) for identity in identities))


async def engine_clients(address: str, identities: Sequence[Identity], folder: Path, steps: int) -> None:
    """Train as the engine's clients do."""
    samples = noise(steps)
    segment = segment_hash(Scale(), (VALUES,), (VALUES,))
    with identities[0].sync_channel(address) as channel:
        description = RunDescription.decode(channel.unary_unary("/sglr.Split/Agreement")(b""))
    with Computing() as computing:
        clients, trainers = [], []
        for identity in identities:
            trainers.append(trainer := Timed(make_job(identity.client, samples)))
            snapshots = Snapshots(folder / f"{identity.client}-snapshots", description.run, 3)
            context = ClientContext(identity, address, description, segment, trainer, snapshots)
            clients.append(ClientConnection(context, computing, 60))
        await asyncio.gather(*(client.run() for client in clients))
    spent = sum(trainer.spent for trainer in trainers)
    (folder / SPENT).write_text(str(1e3 * spent / steps), encoding="ascii")


def noise(steps: int) -> Samples:
    """Make a client's samples."""
    return Samples(torch.randn(steps * BATCH, VALUES), torch.zeros(steps * BATCH, dtype=torch.int64))


def make_job(client: int, samples: Samples) -> Job:
    """Describe what a client computes."""
    targets = Targets.of_classes(tuple("ab"))
    optimizer = OptimizerSpec.parse("sgd")
    return Job(client, Scale(), samples, {}, Classification(), targets, Batching(BATCH), optimizer)
