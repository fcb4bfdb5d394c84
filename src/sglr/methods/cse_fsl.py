"""CSE-FSL (arXiv 2302.05599): clients train by the loss of a head of their own, and upload every h-th batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.server_protocol import Server, step_in_turn
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["CSEFSL"]


@dataclass(frozen=True)
class CSEFSL(Method):
    """Train clients by their own heads; the server learns from the last of every ``h`` batches, and sends nothing back.

    Mu, Shen: *Communication and Storage Efficient Federated Split Learning*. With ``h`` = 1 it is learning by locally
    generated losses, FSL or LGL (Han and others, 2021). Evidence grade A: read in the authors' code, in which, as here,
    the server steps on one upload after another in the order of their arrival; in one process that order is random.
    Held against that code: three epochs of both end with the same weights, where h divides an epoch's steps.
    Client segments and heads are averaged at the end of each epoch.

    Notes
    -----
    With a_i a client's head, its loss L_a,i = L(a_i(s_i)), L_i the loss of the server's segment on the same batch and
    g_s,i = ∂L_i / ∂w_s, one step is; the server's line is for one upload after another in every h-th step, and the last
    two lines end an epoch:

        s_i = f(w_c,i, B_i)
        a_i ← a_i − η_c ∂L_a,i / ∂a_i
        w_c,i ← w_c,i − η_c ∂L_a,i / ∂w_c,i
        w_s ← w_s − η_s g_s,i
        w_c,i ← Σ_j δ_j w_c,j
        a_i ← Σ_j δ_j a_j
    """

    shares: ClassVar[bool] = True
    accumulates: ClassVar[bool] = False
    joint: ClassVar[bool] = False
    head: ClassVar[bool] = True

    h: int = field(default=5, metadata={"help": "steps between two uploads of a client; at most those of an epoch"})

    def __post_init__(self) -> None:
        if self.h < 1:
            raise UsageError("h", self.h, "is below 1", "give the steps from one upload to the next")

    def sends(self, step: int) -> bool:
        """Upload the last of every h batches."""
        return (step + 1) % self.h == 0

    def check_steps(self, steps: int) -> None:
        """Refuse an h with which nobody would upload in an epoch."""
        if self.h > steps:
            problem = f"an epoch has {steps} steps, so that nothing would be uploaded"
            raise UsageError("h", self.h, problem, f"give at most {steps}, or a smaller --batch-size")

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one server step per upload; clients get nothing."""
        step_in_turn(server, uplink, context)
        return Downlink(None)
