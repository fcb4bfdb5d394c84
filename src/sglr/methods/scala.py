"""SCALA (arXiv 2405.04875): SplitFed whose losses take label frequencies out, the pooled ones and each client's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["SCALA"]


@dataclass(frozen=True)
class SCALA(Method):
    """Train on the concatenated smashed data of clients whose batches are in proportion to their data.

    It is ``sfl`` with ``--label-prior pooled`` and ``--batching proportional``, which are its defaults; T steps between
    two averages are ``--merge T``, here once an epoch. Evidence grade C: from the abstract; the clients' half is seen
    in the same authors' code of GAS. Their temperature τ is 1.

    Notes
    -----
    With P_i the label frequencies of client i, P those of all clients in the step, z the logits, ℓ the cross-entropy
    and J_i = ∂s_i / ∂w_c,i, one step is, and the last line ends an epoch:

        s_i = f(w_c,i, B_i)
        g_i = ∂/∂s_i mean_B_i ℓ(z + log P_i, y)
        w_s ← w_s − η_s ∂/∂w_s mean ℓ(z + log P, y)
        w_c,i ← w_c,i − η_c J_iᵀ g_i
        w_c,i ← Σ_j δ_j w_c,j
    """

    shares: ClassVar[bool] = True
    settings: ClassVar[Mapping[str, str]] = {"label_prior": "pooled", "batching": "proportional"}

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one joint step; every client back-propagates its own gradient, each by its prior."""
        return Downlink(server.learn(uplink, context, context.server_rate))
