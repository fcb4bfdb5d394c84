"""SplitFed v2 (arXiv 2004.12088): one server segment takes clients in random turn; client segments are averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["SFLV2"]


@dataclass(frozen=True)
class SFLV2(Method):
    """Let the one server segment step on one client's smashed data after another's, in a new random order.

    Thapa, Chamikara, Camtepe, Sun: *SplitFed: When Federated Learning Meets Split Learning*, section 4.2. Server copies
    are not averaged, since there is one; client segments are, after each epoch.

    Notes
    -----
    With L_i the mean loss over client i's batch, g_s,i = ∂L_i / ∂w_s and J_i = ∂s_i / ∂w_c,i, one step is, the
    middle two lines for one client after another in a random order, and the last line ends an epoch:

        s_i = f(w_c,i, B_i)
        g_i = ∂L_i / ∂s_i
        w_s ← w_s − η_s g_s,i
        w_c,i ← w_c,i − η_c J_iᵀ g_i
        w_c,i ← Σ_j δ_j w_c,j
    """

    shares: ClassVar[bool] = True
    accumulates: ClassVar[bool] = False
    joint: ClassVar[bool] = False

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one server step per client; every client back-propagates its own gradient."""
        cut_gradients = torch.zeros_like(uplink.smashed)
        for row in context.rng.permutation(len(uplink.clients)).tolist():
            cut_gradients[row : row + 1, : uplink.sizes[row]] = server.learn(
                uplink.only(row), context, context.server_rate
            )
        return Downlink(cut_gradients)
