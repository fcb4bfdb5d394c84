"""The ledger's bytes are those that the socket carried: what protocol, HTTP/2 and TLS add is at most 2 %."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
from benchmarks.chaos.proxy import BOTH, Proxy
from tests.conftest import covering
from torch import nn

from sglr.compression.error_feedback import parse
from sglr.core.data import ClientData, Samples
from sglr.core.events import Event, StepDone, Traffic
from sglr.core.merging.weight_sharing import WeightSharing
from sglr.core.method import Method
from sglr.core.optim import OptimizerSpec
from sglr.core.plan import TrainingPlan
from sglr.core.task import Targets
from sglr.core.trainer import Hooks, Trainer
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
from sglr.methods.sglr import SGLR
from sglr.parties.server import SplitServer
from sglr.parties.server_spec import ServerSpec
from sglr.parties.spec import ClientSpec
from sglr.tasks.classification import Classification

VALUES, BATCH, CLIENTS, STEPS = 8192, 8, 3, 12
FIRST, LAST = 2, 10
SGD = OptimizerSpec.parse("sgd")
CPU = torch.device("cpu")


class Scale(nn.Module):
    """One weight per value: 256 KiB of smashed data from 8 samples, for little computing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(VALUES))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.weight


TARGETS = Targets.of_classes(("a", "b"))


@dataclass
class Run:
    """A training whose clients connect through a proxy that counts.

    Parameters
    ----------
    folder
        For keys and snapshots.
    method
        What is exchanged.
    compression
        How.
    """

    folder: Path
    method: Method
    compression: str
    counted: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    carried: list[dict[bool, int]] = field(default_factory=list)

    def train(self) -> tuple[float, float]:
        """Return how many bytes the socket carried between two steps for each that the ledger counts: up, down."""
        with Proxy(0) as self.proxy:
            trainer = self.trainer()
            trainer.engine.attach(self.folder / "server")
            trainer.run()
            trainer.engine.close(done=True)
            self.thread.join(30)
        first, last = self.carried
        up, down = ((last[way] - first[way]) / self.counted[way] for way in (True, False))
        return up, down

    def trainer(self) -> Trainer:
        none = Samples(torch.zeros(0, VALUES), torch.zeros(0, dtype=torch.int64))
        rows = tuple(torch.zeros(0, dtype=torch.int64) for _ in range(CLIENTS))
        data = ClientData(none, rows, None, none, TARGETS)
        setting = ClientSpec(
            lambda _: Scale(), data, Classification(), BATCH, SGD, None, 0, CPU, codec=parse(self.compression)
        )
        engine = Remote(setting, Listen(local_clients=False, opened=self.opened))
        spec = ServerSpec(nn.Linear(VALUES, 2), SGD, Classification(), classes=2, clients=CLIENTS, label_prior="ignore")
        server = SplitServer(spec, CPU)
        sharing = WeightSharing(self.method, engine, server)
        return Trainer(self.method, engine, server, TrainingPlan(1, 0.1, 0.1), sharing, None, Hooks(self.observe))

    def observe(self, event: Event) -> None:
        if isinstance(event, Traffic) and len(self.carried) == 1:
            self.counted[event.up] += int(event.sizes.sum())
        if isinstance(event, StepDone) and event.step in (FIRST, LAST):
            self.carried.append(self.quiet())

    def quiet(self) -> dict[bool, int]:
        """Wait until nothing is on its way; return what was carried so far, up and down."""
        before, since = self.proxy.forwarded, time.monotonic()
        while time.monotonic() - since < 0.4:
            time.sleep(0.02)
            if self.proxy.forwarded != before:
                before, since = self.proxy.forwarded, time.monotonic()
        return {way == "up": before[way] for way in BOTH}

    def opened(self, port: int, authority: Authority) -> None:
        self.proxy.target_port = port
        tokens = [authority.issue_token(client, timedelta(hours=1)) for client in range(CLIENTS)]
        run = authority.fingerprint[:32]
        self.thread = threading.Thread(target=lambda: asyncio.run(self.take_part(tokens, run)))
        self.thread.start()

    async def take_part(self, tokens: list[str], run: str) -> None:
        address, segment = f"127.0.0.1:{self.proxy.port}", segment_hash(Scale(), (VALUES,), (VALUES,))
        description = RunDescription(run, {}, CLIENTS, (VALUES,), TARGETS, (VALUES,), segment)
        with Computing() as computing:
            clients = []
            for number, token in enumerate(tokens):
                place = self.folder / str(number)
                identity = await asyncio.to_thread(Identity.enrol, address, token, place)
                samples = Samples(torch.randn(STEPS * BATCH, VALUES), torch.zeros(STEPS * BATCH, dtype=torch.int64))
                codec = parse(self.compression)
                trainer = LocalTrainer(
                    Job(number, Scale(), samples, {}, Classification(), TARGETS, Batching(BATCH), SGD, codec=codec)
                )
                context = ClientContext(
                    identity, address, description, segment, trainer, Snapshots(place / "snapshots", run, 3)
                )
                clients.append(ClientConnection(context, computing, 30))
            await asyncio.gather(*(client.run() for client in clients))


@covering(method={"psl": PSL(), "sglr": SGLR(phi=1.0)}, compression=["none", "int8"])
def test_the_ledger_counts_what_the_socket_carries(method: Method, compression: str, tmp_path: Path) -> None:
    run = Run(tmp_path, method, compression)
    up, down = run.train()
    if compression == "none":
        assert run.counted == {
            True: (LAST - FIRST) * CLIENTS * BATCH * (4 * VALUES + 8),
            False: (LAST - FIRST) * CLIENTS * BATCH * 4 * VALUES,
        }
    assert 1 < up <= 1.02
    assert 1 < down <= 1.02
