"""A server that learns in a process of the cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.cuts.cut_rows import StageRates
from sglr.core.events import ServerWork, TrainMetrics
from sglr.core.merging import Merging
from sglr.core.server_protocol import Server
from sglr.core.types import ByOutputs, HandOut, Priors, ServerBatch, StepContext, Uplink
from sglr.core.weights import Weights
from sglr.engines.ray.actor_pool import SERVER, ActorPool
from sglr.engines.ray.object_store import receive, receive_all, send, send_all
from sglr.engines.ray.packing import pack, unpack
from sglr.engines.ray.server_worker import Asked, Learnt, Order, Told
from sglr.engines.ray.worker import Smashed


class RemoteServer:
    """A server that learns in a process of the cluster: see `sglr.core.server_protocol.Server`.

    As long as no process has been started, the server here learns; afterwards it is a copy that is brought up to date
    when it is read.

    Parameters
    ----------
    here
        The server of this process.
    pool
        Returns the processes, or None while there are none.
    """

    features = None  # labels are sent to the server: `--tail` is refused

    def __init__(self, here: Server, pool: Callable[[], ActorPool | None]) -> None:
        self._here, self._pool = here, pool
        self._rate = 0.0
        self._behind = False  # the process has learnt since the copy was fetched
        self._bad: int | None = None

    @property
    def segment(self) -> nn.Module:
        """The upper segment, as it is now."""
        self._fetch()
        return self._here.segment

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self._here.classes

    @property
    def last_rate(self) -> float:
        """The learning rate of the last step."""
        return self._rate

    @property
    def work(self) -> ServerWork | None:
        """How many samples went through the segment so far."""
        self._fetch()
        return self._here.work

    def learn(self, uplink: Uplink, context: StepContext, rate: float | StageRates) -> Tensor:
        """Take one joint step on everything received, at ``rate``."""
        assert not isinstance(rate, StageRates), "clients of a cluster are all cut at one place"
        return self._step("learn", self._here.learn, uplink, context, rate)

    def learn_copies(self, uplink: Uplink, context: StepContext, rate: float, weight: float = 1.0) -> Tensor:
        """Let every client's own copy of the segment take one step on that client's batch."""
        return self._step("learn_copies", self._here.learn_copies, uplink, context, rate, weight)

    def _step(
        self,
        call: str,
        here: Callable[..., Tensor],
        uplink: Uplink,
        context: StepContext,
        rate: float,
        *more: float,
    ) -> Tensor:
        self._rate, pool = rate, self._pool()
        if pool is None:
            return here(uplink, context, rate, *more)
        # What layers draw follows from the seed that the training loop has just set.
        order = Order(call, pack(context), (rate, *more), torch.initial_seed())
        sent = Smashed(send(uplink.smashed), send(uplink.labels), uplink.clients, uplink.sizes)
        learnt: Learnt = pool.ask({SERVER: ("step", (order, sent))})[SERVER]
        self._behind, self._bad = True, learnt.bad_step
        # A copy: methods may write into gradients, and what is in the store is shared.
        return receive(learnt.gradients).clone().to(uplink.smashed.device)

    def gradients(self, uplink: Uplink, context: StepContext, log_prior: Tensor | None = None) -> Tensor:
        """Return the cut-layer gradients at the weights as they are."""
        if self._pool() is None:
            return self._here.gradients(uplink, context, log_prior)
        found: Tensor = self._asked("gradients", uplink, context, log_prior)
        return found.clone().to(uplink.smashed.device)

    def step(self, batch: ServerBatch, context: StepContext, rate: float) -> None:
        """Take one step on a batch of the method's own making."""
        self._rate = rate
        if self._pool() is None:
            return self._here.step(batch, context, rate)
        self._asked("step", batch, context, rate)
        return None

    def learn_batch(
        self, batch: ServerBatch, context: StepContext, rate: float, told_prior: Tensor | None = None
    ) -> Tensor:
        """Take one step on a batch of the method's own making; return gradients by its smashed data."""
        self._rate = rate
        if self._pool() is None:
            return self._here.learn_batch(batch, context, rate, told_prior)
        found: Tensor = self._asked("learn_batch", batch, context, rate, told_prior)
        return found.clone().to(batch.smashed.device)

    def by_outputs(self, uplink: Uplink, context: StepContext) -> ByOutputs:
        """Count a step's loss; return its gradients by the outputs."""
        if self._pool() is None:
            return self._here.by_outputs(uplink, context)
        found: ByOutputs = self._asked("by_outputs", uplink, context)
        device = uplink.smashed.device
        return ByOutputs(found.step.to(device), None if found.told is None else found.told.to(device))

    def back_propagate(
        self, smashed: Tensor, by_outputs: ByOutputs, context: StepContext, rate: float, samples: int
    ) -> Tensor:
        """Take one step on given gradients by the outputs; return those by the smashed data."""
        self._rate = rate
        if self._pool() is None:
            return self._here.back_propagate(smashed, by_outputs, context, rate, samples)
        found: Tensor = self._asked("back_propagate", smashed, by_outputs, context, rate, samples)
        return found.clone().to(smashed.device)

    def defended(self, gradients: Tensor, uplink: Uplink, context: StepContext) -> Tensor:
        """Return what clients are told instead of cut-layer gradients."""
        return self._here.defended(gradients, uplink, context)

    def priors(self, uplink: Uplink) -> Priors | None:
        """Count a step's labels; return the priors to correct."""
        if self._pool() is None:
            return self._here.priors(uplink)
        found: Priors | None = self._asked("priors", uplink)
        if found is None:
            return None
        device = uplink.smashed.device
        return Priors(None if found.step is None else found.step.to(device), found.told.to(device))

    def _asked(self, call: str, *arguments: object) -> Any:
        pool = self._pool()
        assert pool is not None, "asked once it runs"
        order = Asked(call, tuple(pack(one) for one in arguments), torch.initial_seed())
        learnt: Told = pool.ask({SERVER: ("carry_out", (order,))})[SERVER]
        self._behind, self._bad = True, learnt.bad_step
        return unpack(learnt.value, torch.device("cpu"))

    def remember(self, uplink: Uplink, most: int) -> None:
        """Keep what clients sent, the newest ``most`` samples of each, to align their heads by it."""
        if self._pool() is None:
            return self._here.remember(uplink, most)
        self._asked("remember", uplink, most)
        return None

    def align_heads(self, clients: tuple[int, ...], epochs: int) -> HandOut | None:
        """Align clients' heads with the cut gradients of what was kept, in so many steps each."""
        if self._pool() is None:
            return self._here.align_heads(clients, epochs)
        found: HandOut | None = self._asked("align_heads", clients, epochs)
        return found

    def merge_copies(self, merging: Merging) -> None:
        """Merge the copies of those who are merged, and give all copies the result."""
        # Its own last weights are there already.
        self._do(self._here.merge_copies, "merge_copies", dataclasses.replace(merging, last={}))

    def hold_for(self, clients: tuple[int, ...], weights: Weights) -> Weights:
        """Return the weights as they are: clients of a cluster are all cut at one place."""
        del clients
        return weights

    def take_up(self, shared: Weights) -> None:
        """Do nothing: the server has no layers that clients have."""
        del shared

    def add_metrics(self, metrics: TrainMetrics) -> None:
        """Add what clients measured that trained by themselves."""
        self._do(self._here.add_metrics, "add_metrics", metrics)

    def restart_metrics(self) -> None:
        """Begin new sums, at the start of an epoch."""
        self._bad = None
        self._do(self._here.restart_metrics, "restart_metrics")

    def _do(self, here: Callable[..., None], name: str, *arguments: Any) -> None:
        pool = self._pool()
        if pool is None:
            return here(*arguments)
        self._behind = True
        return pool.tell(SERVER, "call", name, *arguments)

    def read_metrics(self) -> TrainMetrics:
        """Return the sums since `restart_metrics`."""
        self._fetch()
        return self._here.read_metrics()

    def bad_step(self) -> int | None:
        """Return the first step since `restart_metrics` whose loss was not finite."""
        return self._here.bad_step() if self._pool() is None else self._bad

    def state(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint needs, by name."""
        self._fetch()
        return self._here.state()

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        self._here.restore(tensors)
        self._behind, self._bad = False, self._here.bad_step()
        pool = self._pool()
        if pool is not None:
            pool.tell(SERVER, "restore", send_all(tensors))

    def _fetch(self) -> None:
        """Bring the copy up to date."""
        pool = self._pool()
        if pool is None or not self._behind:
            return
        self._here.restore(receive_all(pool.ask({SERVER: ("state", ())})[SERVER]))
        self._behind = False
