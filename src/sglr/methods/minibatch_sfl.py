"""MiniBatch-SFL (arXiv 2308.11953): SplitFed whose clients share out one batch by how much data each has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["MiniBatchSFL"]


@dataclass(frozen=True)
class MiniBatchSFL(Method):
    """Train as SplitFed, the server by one mini-batch of all clients' smashed data, shared out in proportion to data.

    It is ``sfl`` with ``--batching proportional``, which is its default; T steps between two averages are
    ``--merge T``, here once an epoch. Evidence grade B: read as a baseline in other authors' code.

    Notes
    -----
    With B the samples of a step, L_i the mean loss over client i's batch B_i, g_s,i = ∂L_i / ∂w_s, β_i = |B_i| / B and
    J_i = ∂s_i / ∂w_c,i, one step is, and the last line ends an epoch:

        |B_i| = B |D_i| / |D|
        s_i = f(w_c,i, B_i)
        g_i = ∂L_i / ∂s_i
        w_s ← w_s − η_s Σ_i β_i g_s,i
        w_c,i ← w_c,i − η_c J_iᵀ g_i
        w_c,i ← Σ_j δ_j w_c,j
    """

    shares: ClassVar[bool] = True
    settings: ClassVar[Mapping[str, str]] = {"batching": "proportional"}

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one joint step; every client back-propagates its own gradient."""
        return Downlink(server.learn(uplink, context, context.server_rate))
