"""Federated learning (FedAvg): every client trains the whole model, the server averages weights (eq. 7-8)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["FL"]


@dataclass(frozen=True)
class FL(Method):
    """Average whole models, weighted by δ_i = |D_i| / |D|, every ``local_epochs`` epochs.

    It is the split loop with the cut behind the last layer: what would cross the cut are logits, which stay at the
    client, so the step's loss is the client's own mean and only weights are sent.

    Notes
    -----
    With L_i the mean loss over client i's batch B_i and w_i its copy of the whole model, one step is the first line,
    and the second ends a round:

        w_i ← w_i − η_c ∂L_i / ∂w_i
        w_i ← Σ_j δ_j w_j
    """

    whole_model: ClassVar[bool] = True
    shares: ClassVar[bool] = True
    merges_its_way: ClassVar[bool] = True
    joint: ClassVar[bool] = False

    local_epochs: int = field(default=1, metadata={"help": "epochs that a client trains between two averages"})

    def __post_init__(self) -> None:
        if self.local_epochs < 1:
            raise UsageError("local_epochs", self.local_epochs, "is not positive", "give 1 or more")

    def round_of(self, epoch: int) -> int:
        """Return the round: its participants stay the same through all local epochs."""
        return epoch // self.local_epochs

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Return each client's gradient of its own mean loss by its logits; the server has no weights."""
        return Downlink(server.learn(uplink, context, context.server_rate))

    def merges(self, context: StepContext) -> bool:
        """Average at the end of every round, and of the training."""
        over = context.epoch + 1
        return context.ends_epoch and (over % self.local_epochs == 0 or over == context.epochs)
