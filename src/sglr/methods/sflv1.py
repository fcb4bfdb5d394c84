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
    """

    shares: ClassVar[bool] = True
    server_copies: ClassVar[bool] = True

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one step of every client's own server copy."""
        return Downlink(server.learn_copies(uplink, context, context.server_rate))

    def merge(self, client_weights: Weights, merging: Merging, server: Server) -> Weights:
        """Average the server copies with δ_i as well as the client segments, both by the run's merge rule."""
        server.merge_copies(merging)
        return super().merge(client_weights, merging, server)
