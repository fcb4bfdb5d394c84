"""A server whose learning happens in a process of the cluster: what of it stays here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.events import TrainMetrics
from sglr.core.merging import Merging
from sglr.core.types import Uplink
from sglr.core.weights import Weights
from sglr.engines.ray.actor_pool import SERVER, Crew
from sglr.engines.ray.object_store import receive, receive_all, send, send_all
from sglr.engines.ray.server_worker import Learnt, Order
from sglr.engines.ray.worker import Smashed
from sglr.parties.server import Server


class HostedServer(Server):
    """A server whose learning happens in a process of the cluster.

    As long as no process has been started it is an ordinary server; afterwards its own tensors are a copy that is
    fetched when somebody looks at them.

    Parameters
    ----------
    make
        `Server` with all arguments but the device.
    crew
        Returns the processes, or None while there are none.
    """

    def __init__(self, make: partial[Any], crew: Callable[[], Crew | None]) -> None:
        super().__init__(*make.args, **make.keywords, device=torch.device("cpu"))
        self._crew = crew
        self._behind = False  # the process has learnt since the copy was fetched
        self._bad: int | None = None

    @property
    def segment(self) -> nn.Module:
        """The upper segment, as it is now."""
        self._fetch()
        return super().segment

    def learn(self, uplink: Uplink, rate_factor: float = 1.0) -> Tensor:
        """Take one joint step on everything received, at the server's rate times ``rate_factor``."""
        crew = self._crew()
        if crew is None:
            return super().learn(uplink, rate_factor)
        self.last_rate = self.rate * rate_factor
        return self._step(crew, uplink, "learn", rate_factor)

    def learn_copies(self, uplink: Uplink) -> Tensor:
        """Let every client's own copy of the segment take one step on that client's batch."""
        crew = self._crew()
        if crew is None:
            return super().learn_copies(uplink)
        self.last_rate = self.rate
        return self._step(crew, uplink, "learn_copies")

    def _step(self, crew: Crew, uplink: Uplink, call: str, *arguments: float) -> Tensor:
        # What layers draw follows from the seed that the training loop has just set.
        order = Order(call, self.rate, self.epoch, self.step_number, torch.initial_seed(), arguments)
        sent = Smashed(send(uplink.smashed), send(uplink.labels), uplink.clients, uplink.sizes)
        learnt: Learnt = crew.ask({SERVER: ("step", (order, sent))})[SERVER]
        self._behind, self._bad = True, learnt.bad_step
        # A copy: methods may write into gradients, and what is in the store is shared.
        return receive(learnt.gradients).clone().to(uplink.smashed.device)

    def merge_copies(self, merging: Merging) -> None:
        """Merge the copies of those who are merged, and give all copies the result."""
        # Its own last weights are there already.
        self._do(super().merge_copies, "merge_copies", dataclasses.replace(merging, last={}))

    def add_tally(self, tally: TrainMetrics) -> None:
        """Add what clients measured that trained by themselves."""
        self._do(super().add_tally, "add_tally", tally)

    def restart_tally(self) -> None:
        """Begin new sums, at the start of an epoch."""
        self._bad = None
        self._do(super().restart_tally, "restart_tally")

    def _do(self, here: Callable[..., None], name: str, *arguments: Any) -> None:
        crew = self._crew()
        if crew is None:
            return here(*arguments)
        self._behind = True
        return crew.tell(SERVER, "call", name, *arguments)

    def read_tally(self) -> TrainMetrics:
        """Return the sums since `restart_tally`."""
        self._fetch()
        return super().read_tally()

    def bad_step(self) -> int | None:
        """Return the first step since `restart_tally` whose loss was not a number."""
        return super().bad_step() if self._crew() is None else self._bad

    def state(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint needs, by name."""
        self._fetch()
        return super().state()

    def restore(self, tensors: Weights) -> None:
        """Take up what `state` returned."""
        super().restore(tensors)
        self._behind, self._bad = False, super().bad_step()
        crew = self._crew()
        if crew is not None:
            crew.tell(SERVER, "restore", send_all(tensors))

    def _fetch(self) -> None:
        """Bring the copy up to date."""
        crew = self._crew()
        if crew is None or not self._behind:
            return
        super().restore(receive_all(crew.ask({SERVER: ("state", ())})[SERVER]))
        self._behind = False
