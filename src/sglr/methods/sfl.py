"""SplitFed as the paper has it: parallel split learning, client segments averaged (paper, eq. 9-10)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["SFL"]


@dataclass(frozen=True)
class SFL(Method):
    """PSL, then FedAvg over the client segments: w_c ← Σ_i δ_i w_c,i, every ``average_every`` steps."""

    shares: ClassVar[bool] = True

    average_every: int = field(
        default=0, metadata={"help": "steps between two averages of client segments; 0 is once an epoch"}
    )

    def __post_init__(self) -> None:
        if self.average_every < 0:
            raise UsageError("average_every", self.average_every, "is negative", "give steps, or 0 for once an epoch")

    @property
    def merges_inside_epoch(self) -> bool:
        """Whether averages come more often than once an epoch."""
        return self.average_every > 0

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one joint step; every client back-propagates its own gradient."""
        return Downlink(server.learn(uplink, context, context.server_rate))

    def merges(self, context: StepContext) -> bool:
        """Average every so many steps, and at the end of every epoch."""
        due = self.average_every > 0 and (context.step + 1) % self.average_every == 0
        return due or context.ends_epoch
