"""PSL with SplitLr: the server's rate is scaled by its effective batch (paper, eq. 11-13)."""

from __future__ import annotations

from dataclasses import dataclass, field

from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.split_lr import check_alpha, scaled_rate
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["SLR"]


@dataclass(frozen=True)
class SLR(Method):
    """Train as PSL, with η_s = η_c |C|^α at the server.

    Notes
    -----
    With L_i the mean loss over client i's batch, g_s,i = ∂L_i / ∂w_s and J_i = ∂s_i / ∂w_c,i, one step is, β_i
    being B_i's share of all samples of the step and b its largest batch (its mean batch where ``--batching`` makes them
    unequal):

        s_i = f(w_c,i, B_i)
        g_i = ∂L_i / ∂s_i
        η_s = η_c (Σ_i |B_i| / b)^α
        w_s ← w_s − η_s Σ_i β_i g_s,i
        w_c,i ← w_c,i − η_c J_iᵀ g_i
    """

    alpha: float = field(default=0.5, metadata={"help": "SplitLr exponent α, 0 to 50, of the server's rate; 0 is off"})

    def __post_init__(self) -> None:
        check_alpha(self.alpha)

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one joint step at the scaled rate; every client back-propagates its own gradient."""
        rate = scaled_rate(uplink, context, self.alpha)
        return Downlink(server.learn(uplink, context, rate))
