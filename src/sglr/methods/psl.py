"""Parallel split learning: all clients step together, each gets its own cut-layer gradient (paper, eq. 4-6)."""

from __future__ import annotations

from dataclasses import dataclass

from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["PSL"]


@dataclass(frozen=True)
class PSL(Method):
    """Train all clients in parallel against one server; client segments never meet.

    The server steps on the mean over all samples of the step, client i on its own gradient alone: its segment is
    decoupled from the others', and the server's effective batch is |C| times a client's. These are the two
    faults that SGLR cures.

    Notes
    -----
    With L_i the mean loss over client i's batch, g_s,i = ∂L_i / ∂w_s and J_i = ∂s_i / ∂w_c,i, one step is, β_i
    being B_i's share of all samples of the step:

        s_i = f(w_c,i, B_i)
        g_i = ∂L_i / ∂s_i
        w_s ← w_s − η_s Σ_i β_i g_s,i
        w_c,i ← w_c,i − η_c J_iᵀ g_i
    """

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one joint step; every client back-propagates its own gradient."""
        return Downlink(server.learn(uplink, context, context.server_rate))
