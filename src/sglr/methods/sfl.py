"""SplitFed as the paper has it: parallel split learning, client segments averaged (paper, eq. 9-10)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["SFL"]


@dataclass(frozen=True)
class SFL(Method):
    """PSL, then FedAvg over the client segments: w_c ← Σ_i δ_i w_c,i, every ``average_every`` steps.

    Notes
    -----
    With L_i the mean loss over client i's batch, g_s,i = ∂L_i / ∂w_s and J_i = ∂s_i / ∂w_c,i, one step is, β_i
    being B_i's share of all samples of the step, and the last line is the average:

        s_i = f(w_c,i, B_i)
        g_i = ∂L_i / ∂s_i
        w_s ← w_s − η_s Σ_i β_i g_s,i
        w_c,i ← w_c,i − η_c J_iᵀ g_i
        w_c,i ← Σ_j δ_j w_c,j
    """

    shares: ClassVar[bool] = True

    average_every: int = field(
        default=0, metadata={"help": "steps between two averages of client segments; 0 is once an epoch"}
    )

    def __post_init__(self) -> None:
        if self.average_every < 0:
            raise UsageError("average_every", self.average_every, "is negative", "give steps, or 0 for once an epoch")
        object.__setattr__(self, "merge_every", self.average_every)

    def merging(self, when: str) -> Self:
        """Refuse two answers to when weights are merged."""
        if self.average_every:
            problem = f"average_every = {self.average_every} says already when client segments are averaged"
            raise UsageError("merge", when, problem, "give one of them")
        return super().merging(when)

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one joint step; every client back-propagates its own gradient."""
        return Downlink(server.learn(uplink, context, context.server_rate))
