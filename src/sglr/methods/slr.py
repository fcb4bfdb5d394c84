"""PSL with SplitLr: the server's rate is scaled by its effective batch (paper, eq. 11-13)."""

from __future__ import annotations

from dataclasses import dataclass, field

from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.split_lr import check_alpha, split_lr
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["SLR"]


@dataclass(frozen=True)
class SLR(Method):
    """Train as PSL, with η_s = η_c |C|^α at the server."""

    alpha: float = field(default=0.5, metadata={"help": "SplitLr exponent α ≥ 0 of the server's rate; 0 is off"})

    def __post_init__(self) -> None:
        check_alpha(self.alpha)

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one joint step at the scaled rate; every client back-propagates its own gradient."""
        rate = context.server_rate * split_lr(uplink.sizes, self.alpha)
        return Downlink(server.learn(uplink, context, rate))
