"""EPSL (arXiv 2303.15991): gradients at the last layer are averaged over clients, so that fewer samples go back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.mixing.last_layer_avg import LastLayerAvg
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["EPSL"]


@dataclass(frozen=True)
class EPSL(Method):
    """Train as PSL, but send only ⌈φb⌉ + |C|(b − ⌈φb⌉) samples back through the server's layers, instead of |C|b.

    The gradients by the outputs of every client's first ⌈φb⌉ samples are averaged over clients by position; clients
    receive one gradient for these, which a network may broadcast. Evidence grade C: from the abstract, which leaves
    open at which activations an averaged gradient goes back. **Our choice: at the mean of the smashed data of those
    samples, s̄_j = mean_i s_ij**, through a forward pass of its own, which leaves batch statistics as the pass of all
    samples made them. With φ = 0, one client, or batches of one sample (which batch statistics could
    not go back through alone), it is PSL.

    Notes
    -----
    With ℓ_ij the loss of client i's sample j, z_ij its outputs, s ↦ z(s) the server's layers, and batches of equal
    size b, one step is, j ≤ n standing for the n = ⌈φb⌉ first samples:

        s_i = f(w_c,i, B_i)
        r_ij = ∂ℓ_ij / ∂z_ij
        s̄_j = Σ_i s_ij / |C|, r̄_j = Σ_i r_ij / |C|, j ≤ n
        w_s ← w_s − η_s (Σ_j≤n |C| (∂z(s̄_j)/∂w_s)ᵀ r̄_j + Σ_i Σ_j>n (∂z(s_ij)/∂w_s)ᵀ r_ij) / |C| b
        g_ij = (∂z(s̄_j)/∂s̄_j)ᵀ r̄_j / b, j ≤ n
        g_ij = (∂z(s_ij)/∂s_ij)ᵀ r_ij / b, j > n
        w_c,i ← w_c,i − η_c J_iᵀ g_i
    """

    mixes: ClassVar[bool] = True

    averaged_share: float = field(
        default=0.5, metadata={"help": "φ, 0 to 1: share of a batch that is averaged at the last layer; 0 is off"}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.averaged_share <= 1:
            raise UsageError("averaged_share", self.averaged_share, "is outside [0, 1]", "give a share, such as 0.5")

    @property
    def mixed_share(self) -> float:
        """The share of samples that is averaged."""
        return self.averaged_share

    @property
    def needs_labels(self) -> bool:
        """True: outputs of the network are found by the server, and so is the loss."""
        return True

    @property
    def needs_classes(self) -> bool:
        """False: the loss may be any."""
        return False

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Send averaged gradients back through the server, and others one by one."""
        rate, step = context.server_rate, LastLayerAvg(uplink, self.averaged_share)
        if len(uplink.clients) == 1 or step.first == 0 or max(uplink.sizes) == 1:
            return Downlink(server.learn(uplink, context, rate))
        by_outputs = step.joined(server.by_outputs(uplink, context))
        found = server.back_propagate(step.smashed(), by_outputs, context, rate, sum(uplink.sizes))
        return step.downlink(server.defended(step.apart(found), uplink, context))
