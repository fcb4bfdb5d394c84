"""The weights that clients share: who has them, how they are merged in a training, and what of them crosses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.engine import Engine
from sglr.core.events import Event, weights_traffic
from sglr.core.merging.merge_rule import MergeRule, Merging
from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import StepContext
from sglr.core.weights import Weights, below, data_shares

log = logging.getLogger(__name__)


@dataclass
class WeightSharing:
    """The weights that clients share, where the method shares any.

    Parameters
    ----------
    method, engine, server
        Those of the training.
    weights
        The shared weights and buffers, each ``[...]``; clients begin with them.
    rule
        How weights are merged.
    buffers
        Names of what is not trained of a client's segment, such as batch statistics.
    cuts
        Which client is cut where; None where all are cut at one place.
    sent_bytes
        Gives the bytes of one client's weights on their way to be merged, where these are written in a code.
    holders
        Who has taken up the weights that were merged last, where each client mixes them with its own: it does so once.
    """

    method: Method
    engine: Engine
    server: Server
    weights: Weights = field(default_factory=dict)
    rule: MergeRule = field(default_factory=MergeRule)
    buffers: AbstractSet[str] = frozenset()
    cuts: ClientCuts | None = None
    sent_bytes: Callable[[Weights], int] | None = None
    holders: set[int] = field(default_factory=set)

    def begin(self) -> None:
        """Share the first client's weights, where none are shared yet."""
        if self.method.shares and not self.weights:
            first = self.engine.collect((0,))
            self.weights = {name: tensor[0] for name, tensor in self.method.shared_of(first).items()}

    def merge(self, cohort: tuple[int, ...], context: StepContext, observe: Callable[[Event], None]) -> None:
        """Merge the weights of those of the cohort who are present, after a step; tell ``observe`` what crosses."""
        present, weights = self.engine.collect_present(cohort)
        if not present:
            return
        shares = data_shares([self.engine.sizes[client] for client in present])
        merging = Merging(self.rule, present, shares, self.weights, self.buffers)
        if merging.too_few:
            what = "nothing is merged in epoch %d, and all go on from the weights that were shared before: %s"
            log.warning(what, context.epoch + 1, merging.too_few)
        weights = self.server.hold_for(present, self.method.shared_of(weights))
        self.weights = self.method.merge(weights, merging, self.server)
        self.server.take_up(self.weights)
        if not merging.too_few:
            self.holders.clear()
        self._report(present, observe, up=True)
        if context.ends_epoch:
            # They receive it when their next pass begins: it is counted then.
            self._publish(cohort)
        else:
            self.send(cohort, observe)

    def send(self, cohort: tuple[int, ...], observe: Callable[[Event], None]) -> None:
        """Send a cohort the shared weights; tell ``observe`` what crosses."""
        self._report(self._publish(cohort), observe, up=False)

    def _publish(self, cohort: tuple[int, ...]) -> tuple[int, ...]:
        """Give a cohort the shared weights; return who has them now."""
        if self.method.alike:
            return self.engine.publish(self.weights, cohort)
        without = tuple(client for client in cohort if client not in self.holders)
        if without:
            self.holders |= {*self.engine.publish(self.weights, without)}
        return tuple(client for client in cohort if client in self.holders)

    def _report(self, clients: tuple[int, ...], observe: Callable[[Event], None], *, up: bool) -> None:
        if clients and not self.method.pooled:
            for cut, own in [(0, clients)] if self.cuts is None else self.cuts.groups(clients):
                held = self.weights if self.cuts is None else self.cuts.held(self.weights, cut)
                size = self.sent_bytes(held) if up and self.sent_bytes is not None else None
                observe(weights_traffic(held, own, up=up, size=size))

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint needs."""
        tensors = {f"shared.{name}": tensor for name, tensor in self.weights.items()}
        if self.method.shares and not self.method.alike:
            tensors["holders"] = torch.tensor(sorted(self.holders), dtype=torch.int64)
        return tensors

    def restore(self, tensors: Weights) -> None:
        """Take up what `state` returned; other tensors are passed over."""
        self.weights = {name: tensor.clone() for name, tensor in below("shared.", tensors).items()}
        self.holders = {*tensors["holders"].tolist()} if "holders" in tensors else set()
