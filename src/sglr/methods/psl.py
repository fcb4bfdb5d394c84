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

    The server steps on w_s ← w_s − η Σ_i δ_i g_s,i, client i on its own gradient g_c,i alone: its segment is
    decoupled from the others', and the server's effective batch is |C| times a client's. These are the two
    faults that SGLR cures.
    """

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one joint step; every client back-propagates its own gradient."""
        return Downlink(server.learn(uplink, context, context.server_rate))
