"""The engine whose clients live in blocks on a Ray cluster: one gather and one scatter per step."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sglr.compression.channels import Channels
from sglr.compression.weight_deltas import DeltaChannels
from sglr.core.data import Samples
from sglr.core.engine import never
from sglr.core.errors import SglrError, UsageError
from sglr.core.events import TrainMetrics
from sglr.core.scores import Scores
from sglr.core.server_protocol import Server
from sglr.core.types import Answer, Downlink, Uplink
from sglr.core.weights import Weights, below, state_of
from sglr.data.batch_rule import BatchRule
from sglr.engines.ray.actor_pool import ActorPool, Call
from sglr.engines.ray.death_notice import DeathNotice
from sglr.engines.ray.gather import gather_answers, join, scatter
from sglr.engines.ray.layout import read_layout, write_layout
from sglr.engines.ray.memory_profile import SIZES, MemoryProfile, measure
from sglr.engines.ray.object_store import receive, receive_all, send, send_all, send_inputs
from sglr.engines.ray.remote_server import RemoteServer
from sglr.engines.ray.server_worker import ServerPlacement
from sglr.engines.ray.sizing import design, leave_room, nodes_of, uses_gpus
from sglr.engines.ray.worker import Answered, Scored, Smashed, block_of, owned_by, without_data
from sglr.parties.client_block import ClientBlock
from sglr.parties.local_epoch import Among
from sglr.parties.spec import ClientSpec
from sglr.system.ray_cluster import connect, started_here

__all__ = ["Ray"]

LINKS, DELTAS, BLOCK, FIRST = "links.", "deltas.", "block.", "first"
"""What tensors of a checkpoint begin with that are memories of links, and of a block; the first client of each."""


class Ray:
    """The engine for blocks of clients on a cluster.

    Parameters
    ----------
    spec
        The clients and what they need.
    """

    loses_clients = True

    def __init__(self, spec: ClientSpec) -> None:
        self._spec = spec
        self.codec, self.sizes = spec.codec, spec.data.sizes
        self.segment = {name: tensor.detach().to("meta") for name, tensor in state_of(spec.segment(0)).items()}
        self._links = Channels(spec.codec.of_cut(0))
        self._deltas = DeltaChannels(spec.delta_code)
        self._pool: ActorPool | None = None
        self._death_notice: DeathNotice | None = None
        self._make: Callable[[torch.device], Server] | None = None
        self._held: Weights = {}
        self._samples: dict[int, tuple[Samples, Any]] = {}

    def make_server(self, make: Callable[[torch.device], Server]) -> Server:
        """Return the server; where it shall be on the cluster, one that learns there."""
        if self._spec.experiment.ray_server == "driver":
            return make(self._spec.device)
        self._make = make
        # A copy: whoever builds a server takes its segment apart.
        return RemoteServer(copy.deepcopy(make)(torch.device("cpu")), lambda: self._pool)

    # Opening and closing.

    def open(self, run: Path | None) -> None:
        """Connect, measure what a client takes, and divide the clients; as they were if a run goes on."""
        experiment = self._spec.experiment
        self._ray = connect(experiment.ray_address)
        nodes = nodes_of(self._ray)
        on_gpus = uses_gpus(experiment.device, nodes)
        device = torch.device("cuda" if on_gpus else "cpu")
        self._common = without_data(dataclasses.replace(self._spec, device=device))
        before = None if run is None else read_layout(run, len(self.sizes))
        self.memory_profile = self._measure(on_gpus=on_gpus)
        self.design = design(
            nodes, len(self.sizes), experiment.block_clients, self.memory_profile, on_gpus=on_gpus, blocks=before
        )
        self._placement = None
        if self._make is not None:
            self.design, gpus = leave_room(self.design, nodes)
            self._placement = ServerPlacement(self._make, device, experiment.threads, gpus)

    def _measure(self, *, on_gpus: bool) -> MemoryProfile:
        """Have a process of the cluster try a step."""
        self._check_sendable()
        some = sorted(range(len(self.sizes)), key=lambda client: -self.sizes[client])[: max(SIZES)]
        spec = dataclasses.replace(self._common, batch_size=self._usual_batch(), batch_rule=BatchRule())
        task = self._ray.remote(measure).options(num_cpus=0, num_gpus=1 if on_gpus else 0, max_retries=0)
        try:
            found: MemoryProfile = self._ray.get(task.remote(spec, owned_by(self._spec.data, some)))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        return found

    def _usual_batch(self) -> int:
        """Return b; where batches are unequal, the largest of a step of everyone."""
        if not self._spec.batching.unequal:
            return self._spec.batch_size
        sizes = np.array(self.sizes, dtype=np.int64)
        return int(self._spec.batching.schedule(sizes, self._spec.seed, 0).at(0)[1].max())

    def _check_sendable(self) -> None:
        """Refuse a model that can't be written down for other processes."""
        try:
            self._ray.cloudpickle.dumps(self._common.segment)
        except Exception as error:  # pickling raises many kinds
            problem = f"it can't be sent to the cluster's processes ({type(error).__name__}: {error})"
            raise UsageError("model", "of this run", problem, "give it as package.module:function") from error

    def attach(self, folder: Path, should_stop: Callable[[], bool] = never) -> None:
        """Start the blocks' processes; write into ``folder`` which clients are together."""
        if read_layout(folder, len(self.sizes)) is None:
            write_layout(folder, self.design.blocks)
        if not started_here():
            self._death_notice = DeathNotice()
        self.start(should_stop)

    def start(self, should_stop: Callable[[], bool] = never) -> None:
        """Start the blocks' processes, with first weights."""
        self._home = {client: number for number, block in enumerate(self.design.blocks) for client in block}
        self._pool = ActorPool(self._ray, self._common, self._spec.data, self.design, should_stop, self._placement)

    def close(self, *, done: bool, diverged: str = "") -> None:
        """End the blocks' processes; a Ray that was started here serves this process's next run, too."""
        del done, diverged
        if self._pool is not None:
            self._pool.end()
        self._pool, self._samples = None, {}
        if self._death_notice is not None:
            self._death_notice.cancel()
            self._death_notice = None

    @property
    def pool(self) -> ActorPool:
        """The processes of the blocks."""
        assert self._pool is not None, "attach comes first"
        return self._pool

    # Steps.

    def begin_epoch(self, cohort: tuple[int, ...], epoch: int, *, fresh: bool = False) -> int:
        """Prepare a cohort's pass over its data in an epoch; return its number of steps."""
        self._parts = self._by_block(cohort)
        sizes = np.array([self.sizes[client] for client in cohort], dtype=np.int64)
        places = {client: place for place, client in enumerate(cohort)}
        for block, clients in self._parts.items():
            # A block knows its own clients alone.
            part = Among(cohort, sizes, tuple(places[client] for client in clients))
            among = part if self._spec.batching.of_cohort else None
            self.pool.tell(block, "begin_epoch", clients, epoch, cohort[0], fresh, among)
        self._schedule = self._spec.batching.schedule(sizes, self._spec.seed, epoch, cohort)
        return self._schedule.steps

    def forward(self, step: int) -> Uplink | None:
        """Run the clients that have a batch in this step, all blocks at once."""
        answers: dict[int, Smashed | None] = self.pool.ask(dict.fromkeys(self._parts, ("forward", (step,))))
        self._came = {block: part for block, part in answers.items() if part is not None}
        self._sent = join(list(self._came.values()), self._spec.device) if self._came else None
        return None if self._sent is None else self._links.received(self._sent)

    def answer(self, features: Tensor, clients: tuple[int, ...]) -> Answer:
        """Send every block the features of its clients among ``clients``; return what they find (U-shape)."""
        parts, here = self._by_block(clients), features.detach().cpu()
        rows = {client: row for row, client in enumerate(clients)}
        places = {block: [rows[client] for client in own] for block, own in parts.items()}
        calls = {block: ("answer", (send(here[places[block]]), own)) for block, own in parts.items()}
        found: dict[int, Answered] = self.pool.ask(calls)
        return gather_answers(features, [(places[block], found[block]) for block in parts])

    def backward(self, downlink: Downlink, rate: float) -> None:
        """Send every block its clients' gradients, and to all at once what they have in common; don't wait."""
        assert self._sent is not None, "there was a forward pass"
        delivered = self._links.delivered(downlink, self._sent.clients, self._sent.sizes)
        if delivered.gradients is None:
            for block in self._came:
                self.pool.tell(block, "backward_alone", rate, downlink.updates)
            return
        average, parts = scatter(delivered, self._sent, {block: part.clients for block, part in self._came.items()})
        shared = None if average is None else self.pool.put(average)
        for block, gradients in parts.items():
            self.pool.tell(block, "backward", gradients, shared if gradients.active else None, rate, downlink.updates)

    def step_alone(self, step: int, rate: float) -> int:
        """Let the clients that have a batch in this step train by their heads, all blocks at once; don't wait."""
        for block in self._parts:
            self.pool.tell(block, "step_alone", step, rate)
        _, counts = self._schedule.at(step)
        return int(counts.sum())

    def train_locally(self, rates: Sequence[float], *, merges: bool = False) -> TrainMetrics | None:
        """Have clients step together, whatever they hold."""
        del rates, merges
        return None

    # Weights.

    def collect_present(self, cohort: tuple[int, ...]) -> tuple[tuple[int, ...], Weights]:
        """Return everyone's weights."""
        return cohort, self._deltas.received(cohort, self.collect(cohort))

    def collect(self, clients: tuple[int, ...]) -> Weights:
        """Return the clients' weights and buffers ``[n, ...]``."""
        if self._pool is None:
            return self._collect_held(clients)
        parts = self._by_block(clients)
        found = self.pool.ask({block: ("collect", (own,)) for block, own in parts.items()})
        held = [receive_all(found[block]) for block in parts]
        order = [client for own in parts.values() for client in own]
        return _ordered(held, order, clients, self._spec.device)

    def _collect_held(self, clients: tuple[int, ...]) -> Weights:
        """Return weights out of a checkpoint, for which no cluster is needed."""
        if FIRST not in self._held:
            raise SglrError("the clients of this run have not been started")
        first = [*self._held[FIRST].tolist(), len(self.sizes)]
        here = dataclasses.replace(self._spec, device=torch.device("cpu"))
        found: list[Weights] = []
        for client in clients:
            number = int(np.searchsorted(first, client, side="right")) - 1
            block = self._block_here(here, range(first[number], first[number + 1]))
            block.restore(below(f"{BLOCK}{number}.", self._held))
            found.append(block.collect((client,)))
        return _ordered(found, list(clients), clients, self._spec.device)

    def _block_here(self, spec: ClientSpec, ids: Sequence[int]) -> ClientBlock:
        return block_of(without_data(spec), owned_by(spec.data, ids))

    def publish(self, weights: Weights, clients: tuple[int, ...]) -> tuple[int, ...]:
        """Give the clients the same weights and buffers ``[...]``, sent once."""
        self._deltas.published(weights)
        shared = self.pool.put(send_all(weights))
        for block, own in self._by_block(clients).items():
            self.pool.tell(block, "publish", shared, own)
        return clients

    def give(self, weights: Weights, clients: tuple[int, ...]) -> tuple[int, ...]:
        """Give clients some weights, each its own ``[n, ...]``: every block those of its clients."""
        rows = {client: row for row, client in enumerate(clients)}
        for block, own in self._by_block(clients).items():
            places = [rows[client] for client in own]
            chosen = {name: tensor[places] for name, tensor in weights.items()}
            self.pool.tell(block, "give", send_all(chosen), own)
        return clients

    def evaluate(
        self,
        server: nn.Module,
        samples: Samples,
        clients: tuple[int, ...],
        shared: Weights | None = None,
        parts: int = 1,
    ) -> Scores:
        """Score clients, or weights that they share, on the same samples, every block its own."""
        sent = None if shared is None else self.pool.put(send_all(shared))
        segment = self.pool.put(copy.deepcopy(server).cpu())
        blocks = self._by_block(clients if shared is None else clients[:1])
        where = self._put_samples(samples)
        calls: Mapping[int, Call] = {
            block: ("evaluate", (segment, *where, own, sent, parts)) for block, own in blocks.items()
        }
        found: dict[int, Scored] = self.pool.ask(calls)
        places = {client: place for place, client in enumerate(client for own in blocks.values() for client in own)}
        task = self._spec.task
        scores = [Scores.of(task, torch.tensor(one.loss), [*map(receive_all, one.parts)]) for one in found.values()]
        return Scores.joined(scores, [places[client] for client in (clients if shared is None else clients[:1])], task)

    def _put_samples(self, samples: Samples) -> tuple[Any, Any]:
        """Put samples into the store, once in a run."""
        _, where = self._samples.get(id(samples), (None, None))
        if where is None:
            where = (self.pool.put(send_inputs(samples.inputs)), self.pool.put(send(samples.targets)))
            self._samples[id(samples)] = (samples, where)
        return where[0], where[1]

    def digests(self) -> list[str]:
        """Return the SHA-256 of every client's weights and buffers."""
        return [digest for block in self.pool.ask_all("digests") for digest in block]

    # Checkpoints.

    def state(self, best: bool = False) -> dict[str, Tensor]:
        """Return weights, buffers and optimizer state of all blocks, and what links remember."""
        del best
        tensors = {FIRST: torch.tensor([block[0] for block in self.design.blocks])}
        for number, state in enumerate(self.pool.ask_all("state")):
            tensors |= {f"{BLOCK}{number}.{name}": receive(sent) for name, sent in state.items()}
        # What comes after this can be repeated from here.
        self.pool.progressed()
        tensors |= {f"{DELTAS}{name}": tensor for name, tensor in self._deltas.state().items()}
        return tensors | {f"{LINKS}{name}": tensor for name, tensor in self._links.state().items()}

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        self._links.restore(below(LINKS, tensors))
        self._deltas.restore(below(DELTAS, tensors))
        if self._pool is None:
            self._held = tensors
            return
        for number in range(len(self.design.blocks)):
            self.pool.tell(number, "restore", send_all(below(f"{BLOCK}{number}.", tensors)))
        self.pool.ask_all("ready")

    def _by_block(self, clients: Sequence[int]) -> dict[int, tuple[int, ...]]:
        """Return which of ``clients`` live in which block, both in ascending order of blocks."""
        parts: dict[int, list[int]] = {}
        for client in clients:
            parts.setdefault(self._home[client], []).append(client)
        return {block: tuple(parts[block]) for block in sorted(parts)}


def _ordered(
    parts: Sequence[Weights], order: Sequence[int], wanted: Sequence[int], device: torch.device
) -> dict[str, Tensor]:
    """Lay rows of several blocks, which are those of ``order``, in the order of ``wanted``."""
    joined = {name: torch.cat([part[name] for part in parts]).to(device) for name in parts[0]}
    if list(order) == list(wanted):
        return joined
    places = {client: place for place, client in enumerate(order)}
    rows = torch.tensor([places[client] for client in wanted], device=device)
    return {name: tensor[rows] for name, tensor in joined.items()}
