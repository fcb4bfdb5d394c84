"""SplitFed v1 (arXiv 2004.12088): one server copy per client, copies and client segments averaged each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sglr.core.merging import Merging
from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink
from sglr.core.weights import Weights

__all__ = ["SFLV1"]


@dataclass(frozen=True)
class SFLV1(Method):
    """Train every client against its own copy of the server segment; average both sides after each epoch.

    Thapa, Chamikara, Camtepe, Sun: *SplitFed: When Federated Learning Meets Split Learning*, Algorithms 1 and 2.
    With one step per epoch and plain SGD it is FedAvg of the whole model, computed in two places.

    Notes
    -----
    With L_i the mean loss over client i's batch, w_s,i its copy of the server's segment, g_s,i = ∂L_i / ∂w_s,i and
    J_i = ∂s_i / ∂w_c,i, one step is, and the last two lines end an epoch:

        s_i = f(w_c,i, B_i)
        g_i = ∂L_i / ∂s_i
        w_s,i ← w_s,i − η_s g_s,i
        w_c,i ← w_c,i − η_c J_iᵀ g_i
        w_s,i ← Σ_j δ_j w_s,j
        w_c,i ← Σ_j δ_j w_c,j
    """

    shares: ClassVar[bool] = True
    server_copies: ClassVar[bool] = True
    merges_its_way: ClassVar[bool] = True
    joint: ClassVar[bool] = False

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one step of every client's own server copy."""
        return Downlink(server.learn_copies(uplink, context, context.server_rate))

    def merge(self, client_weights: Weights, merging: Merging, server: Server) -> Weights:
        """Average the server copies with δ_i as well as the client segments, both by the run's merge rule."""
        server.merge_copies(merging)
        return super().merge(client_weights, merging, server)
