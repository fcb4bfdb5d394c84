"""The servers of `remote.py`: the engine's, and that of a bare echo of the same bytes with the same TLS."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import grpc
import grpc.aio
import torch

from remote_clients import BATCH, PAYLOAD, SPENT, VALUES, Scale, make_job, noise, start
from sglr.core.data import ClientData, Samples
from sglr.core.optim import OptimizerSpec
from sglr.core.task import Targets
from sglr.core.types import Downlink
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.engine import Remote
from sglr.engines.remote.server.listen import OPTIONS, Listen
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.service import SERVICE, enrolment, server_credentials
from sglr.parties.spec import ClientSpec
from sglr.tasks.classification import Classification

WARM_UP = 10


@dataclass
class Steps:
    """What steps took: seconds each, and processor time of all processes together.

    Parameters
    ----------
    processes
        Those of the clients.
    """

    processes: Sequence[BaseProcess] = ()
    seconds: list[float] = field(default_factory=list)
    _began: tuple[float, float] = (0.0, 0.0)

    def begin(self) -> None:
        """Note where the first step that counts begins."""
        self._began = self._now()

    def end(self) -> tuple[float, float]:
        """Return milliseconds of processor time a step: the server's, and those of all clients."""
        server, clients = (now - then for now, then in zip(self._now(), self._began, strict=True))
        return 1e3 * server / len(self.seconds), 1e3 * clients / len(self.seconds)

    def _now(self) -> tuple[float, float]:
        return time.process_time(), sum(processor_seconds(process.pid) for process in self.processes)


def processor_seconds(pid: int | None) -> float:
    """Return the processor time of a process's threads so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


def report(steps: Steps, server: float, clients: float) -> dict[str, float]:
    """Say what was measured."""
    return {"step_ms": 1e3 * statistics.median(steps.seconds), "server_cpu_ms": server, "clients_cpu_ms": clients}


def engine_side(clients: int, steps: int, processes: int, folder: Path) -> dict[str, float]:
    """Run the engine's server and time its steps."""
    found = Steps()

    def opened(port: int, authority: Authority) -> None:
        tokens = [authority.issue_token(client, timedelta(hours=1)) for client in range(clients)]
        found.processes = start("sglr", port, tokens, folder, steps + WARM_UP, processes)

    engine = Remote(setting(clients), Listen(local_clients=False, opened=opened))
    engine.attach(folder / "server")
    engine.begin_epoch(tuple(range(clients)), 0)
    for step in range(steps + WARM_UP):
        if step == WARM_UP:
            found.begin()
        began = time.perf_counter()
        uplink = engine.forward(step)
        assert uplink is not None
        engine.backward(Downlink(uplink.smashed), 0.0)
        if step >= WARM_UP:
            found.seconds.append(time.perf_counter() - began)
    cpu = found.end()
    engine.close(done=True)
    for process in found.processes:
        process.join(60)
    computed = sum(float(path.read_text(encoding="ascii")) for path in folder.glob(f"sites-*/{SPENT}"))
    return {**report(found, *cpu), "computing_cpu_ms": computed}


def setting(clients: int) -> ClientSpec:
    """Describe clients that tell themselves how many samples they have."""
    inputs = torch.zeros(0, VALUES)
    rows = tuple(torch.zeros(0, dtype=torch.int64) for _ in range(clients))
    none = Samples(inputs, torch.zeros(0, dtype=torch.int64))
    data = ClientData(none, rows, None, none, Targets.of_classes(tuple("ab")))
    optimizer = OptimizerSpec.parse("sgd")
    return ClientSpec(lambda _: Scale(), data, Classification(), BATCH, optimizer, None, 0, torch.device("cpu"))


def computing(clients: int, steps: int) -> float:
    """Return the milliseconds of processor time a step that the clients' segments take by themselves."""
    trainers = [LocalTrainer(make_job(client, noise(steps))) for client in range(clients)]
    seconds = []
    for step in range(steps):
        began = time.thread_time()
        for trainer in trainers:
            smashed = trainer.forward(0, step)["values"]
            trainer.backward(smashed, 0.0)
        seconds.append(time.thread_time() - began)
    return 1e3 * statistics.median(seconds)


def echo_side(clients: int, steps: int, processes: int, folder: Path) -> dict[str, float]:
    """Send the same bytes over bare bidirectional streams with the same TLS, and time it."""
    return asyncio.run(_echo(clients, steps, processes, folder))


async def _echo(clients: int, steps: int, processes: int, folder: Path) -> dict[str, float]:
    authority = Authority.open(folder / "trust")
    arrived = asyncio.Queue[int]()
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

    server = grpc.aio.server(options=[*OPTIONS, ("grpc.max_receive_message_length", 1 << 24)])
    handlers = {"Train": grpc.stream_stream_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers((enrolment(authority), grpc.method_handlers_generic_handler(SERVICE, handlers)))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(authority))
    await server.start()
    tokens = [authority.issue_token(client, timedelta(hours=1)) for client in range(clients)]
    found = Steps(start("echo", port, tokens, folder, steps, processes))
    for _ in range(clients):
        await arrived.get()
    payload = bytes(PAYLOAD)
    for step in range(steps + WARM_UP):
        if step == WARM_UP:
            found.begin()
        began = time.perf_counter()
        for queue in queues:
            queue.put_nowait(payload)
        for _ in range(clients):
            await arrived.get()
        if step >= WARM_UP:
            found.seconds.append(time.perf_counter() - began)
    cpu = found.end()
    for queue in queues:
        queue.put_nowait(None)
    await server.stop(1)
    for process in found.processes:
        await asyncio.to_thread(process.join, 60)
    return report(found, *cpu)
