"""How many clients one server bears: memory with 500 that are connected and idle, and 1,000 that train 50 steps.

Clients are in two processes of this machine, each with a connection and a certificate of its own, mutual TLS over
loopback. The model is an mlp cut after its first layer; samples are noise. Joining is measured from the moment in which
these processes have imported what they need: tokens in, keys made, enrolled, connected, welcomed. Memory is compared
with that of the listening server. Beside it stands a bare gRPC server with as many streams of clients that have their
certificates already (`idle_streams.py`).

    python benchmarks/many_clients.py --write
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import nn

from idle_streams import bare, resident, start, tell, told
from record import machine, write_result
from sglr.core.data import ClientData, Samples
from sglr.core.optim import OptimizerSpec
from sglr.core.random import generator
from sglr.core.task import Targets
from sglr.core.types import StepContext
from sglr.data.batches import Batching
from sglr.engines.remote.client.computing import Computing
from sglr.engines.remote.client.connection import ClientConnection, ClientContext
from sglr.engines.remote.client.job import Job
from sglr.engines.remote.client.snapshots import Snapshots
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.engine import Remote
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.segment_hash import segment_hash
from sglr.engines.remote.server.listen import Listen
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.identity import Identity
from sglr.methods.psl import PSL
from sglr.parties.server import ServerSpec, SplitServer
from sglr.parties.spec import ClientSpec
from sglr.system.allocator import keep_freed_memory
from sglr.tasks.classification import Classification

INPUTS, CUT, CLASSES, BATCH, PROCESSES = 64, 32, 10, 8, 2


def make_lower() -> nn.Module:
    torch.default_generator.manual_seed(0)
    return nn.Sequential(nn.Linear(INPUTS, CUT), nn.ReLU())


def make_engine(
    clients: int, steps: int, folder: Path, listening: Callable[[], None] = lambda: None
) -> tuple[Remote, list[subprocess.Popen[bytes]]]:
    """Open a server, and start its clients once it listens."""
    started: list[subprocess.Popen[bytes]] = []

    def opened(port: int, authority: Authority) -> None:
        listening()
        tokens = [authority.issue_token(client, timedelta(hours=1)) for client in range(clients)]
        started.extend(start(__file__) for _ in range(PROCESSES))
        for number, process in enumerate(started):
            own = tokens[number::PROCESSES]
            tell(process, {"port": port, "tokens": own, "folder": str(folder / str(number)), "steps": steps})

    none = Samples(torch.zeros(0, INPUTS), torch.zeros(0, dtype=torch.int64))
    rows = tuple(torch.zeros(0, dtype=torch.int64) for _ in range(clients))
    data = ClientData(none, rows, None, none, Targets.of_classes(tuple("0123456789")))
    spec = OptimizerSpec.parse("sgd")
    setting = ClientSpec(lambda _: make_lower(), data, Classification(), BATCH, spec, None, 0, torch.device("cpu"))
    engine = Remote(setting, Listen(local_clients=False, opened=opened))
    engine.attach(folder / "server")
    return engine, started


def apart(side: Callable[[int, Path], dict[str, float]], clients: int, folder: Path) -> dict[str, float]:
    """Measure in a process of its own: memory that another measurement has freed would be used again."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(side, clients, folder).result()


def bare_streams(clients: int, folder: Path) -> dict[str, float]:
    """Measure a bare server."""
    return bare(clients, PROCESSES, folder)


def idle(clients: int, folder: Path) -> dict[str, float]:
    """Measure the memory that connected clients take which nobody asks anything."""
    own: list[float] = []
    engine, started = make_engine(clients, 1, folder, lambda: own.append(resident()))
    began, spent = time.perf_counter(), time.process_time()
    engine.begin_epoch(tuple(range(clients)), 0)
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    time.sleep(3)
    after = resident()
    engine.close(done=True)
    for process in started:
        process.wait(120)
    return {"server_mb": after, "clients_mb": after - own[0], "joining_s": seconds, "server_cpu_s": spent}


def train(clients: int, steps: int, folder: Path) -> dict[str, float]:
    """Train PSL; every client must be there in every step."""
    engine, started = make_engine(clients, steps, folder)
    upper = nn.Linear(CUT, CLASSES)
    spec = ServerSpec(
        upper, OptimizerSpec.parse("sgd"), Classification(), classes=CLASSES, clients=clients, label_prior="ignore"
    )
    server = SplitServer(spec, torch.device("cpu"))
    taken = engine.begin_epoch(tuple(range(clients)), 0)
    seconds = []
    for step in range(taken):
        began = time.perf_counter()
        uplink = engine.forward(step)
        assert uplink is not None
        assert len(uplink.clients) == clients, f"step {step}: {clients - len(uplink.clients)} clients are missing"
        downlink = PSL().exchange(server, uplink, StepContext(0, 1, step, taken, generator(0, "step", step), step, 0.1))
        engine.backward(downlink, 0.1)
        seconds.append(time.perf_counter() - began)
    connections = [state.connections for state in engine.connections.states]
    engine.close(done=True)
    codes = [process.wait(120) for process in started]
    assert codes == [0] * PROCESSES, codes
    return {
        "steps": taken,
        "step_ms": 1e3 * statistics.median(seconds),
        "slowest_step_ms": 1e3 * max(seconds),
        "reconnections": sum(connections) - clients,
        "server_mb": resident(),
    }


def client_process() -> None:
    """Be half of the clients."""
    torch.set_num_threads(1)
    keep_freed_memory()
    found = told()
    address, folder, steps = f"127.0.0.1:{found['port']}", Path(found["folder"]), int(found["steps"])
    tokens = [str(token) for token in found["tokens"]]
    first = Identity.enrol(address, tokens[0], folder / "0", timeout=120)

    def enrol(place: int) -> Identity:
        return Identity.enrol(address, tokens[place], folder / str(place), timeout=120, known=first.authority)

    with ThreadPoolExecutor(4) as pool:
        identities = [first, *pool.map(enrol, range(1, len(tokens)))]
    samples = Samples(torch.randn(steps * BATCH, INPUTS), torch.randint(CLASSES, (steps * BATCH,)))
    with identities[0].sync_channel(address) as channel:
        description = RunDescription.decode(channel.unary_unary("/sglr.Split/Agreement")(b""))
    lower, optimizer = make_lower(), OptimizerSpec.parse("sgd")
    segment = segment_hash(lower, (INPUTS,), (CUT,))

    async def run() -> None:
        with Computing() as computing:
            clients = []
            for identity in identities:
                task = Job(
                    identity.client,
                    lower,
                    samples,
                    {},
                    Classification(),
                    Targets.of_classes(tuple("ab")),
                    Batching(BATCH),
                    optimizer,
                )
                snapshots = Snapshots(folder / f"{identity.client}-snapshots", description.run, 3)
                context = ClientContext(identity, address, description, segment, LocalTrainer(task), snapshots)
                clients.append(ClientConnection(context, computing, 120))
            await asyncio.gather(*(client.run() for client in clients))

    asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=500)
    parser.add_argument("--training", type=int, default=1000, help="0 leaves it out")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    parser.add_argument("--clients-of", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.clients_of:
        client_process()
        return
    torch.set_num_threads(1)
    result: dict[str, object] = {"machine": machine(), "command": " ".join(sys.argv)}
    for name, side in (("bare", bare_streams), ("idle", idle)):
        with tempfile.TemporaryDirectory() as folder:
            result[f"{arguments.idle} {name}"] = apart(side, arguments.idle, Path(folder))
    print(result, flush=True)
    if arguments.training:
        with tempfile.TemporaryDirectory() as folder:
            result[f"{arguments.training} training"] = train(arguments.training, arguments.steps, Path(folder))
    write_result("many_clients", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
