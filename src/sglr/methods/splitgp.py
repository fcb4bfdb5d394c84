"""SplitGP (arXiv 2212.08343): clients learn by their heads and the server, and keep a share of their own weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sglr.core.errors import UsageError
from sglr.core.merging import Merging
from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink
from sglr.core.weights import Weights

__all__ = ["SplitGP"]


@dataclass(frozen=True)
class SplitGP(Method):
    """Train personal clients with a head each, and a server's segment that is everyone's.

    Han, Kim, Choi, Brinton, Moon: *SplitGP: Achieving Both Generalization and Personalization in Federated Learning*
    (INFOCOM 2023). Evidence grade B: read in a third party's code. Every client has a copy of the server's segment;
    copies are averaged at the end of each epoch, client segments and heads only in part. A trained client answers
    alone where its head is sure, and asks the server elsewhere (``sglr predict --head-entropy``). With ``gamma`` = 0
    and ``lam`` = 0 it is SFLv1; with ``lam`` = 0 alone, the paper's multi-exit network.

    Notes
    -----
    With a_i a client's head, its loss L_a,i = L(a_i(s_i)), L_i the loss of the server's copy w_s,i on the same batch,
    g_s,i = ∂L_i / ∂w_s,i and J_i = ∂s_i / ∂w_c,i, one step is, and the last three lines end an epoch:

        s_i = f(w_c,i, B_i)
        g_i = (1 − γ) ∂L_i / ∂s_i
        w_s,i ← w_s,i − η_s (1 − γ) g_s,i
        a_i ← a_i − η_c γ ∂L_a,i / ∂a_i
        w_c,i ← w_c,i − η_c J_iᵀ (g_i + γ ∂L_a,i / ∂s_i)
        w_s,i ← Σ_j δ_j w_s,j
        w_c,i ← λ w_c,i + (1 − λ) Σ_j δ_j w_c,j
        a_i ← λ a_i + (1 − λ) Σ_j δ_j a_j
    """

    shares: ClassVar[bool] = True
    server_copies: ClassVar[bool] = True
    merges_its_way: ClassVar[bool] = True
    joint: ClassVar[bool] = False
    head: ClassVar[bool] = True

    gamma: float = field(default=0.5, metadata={"help": "weight γ of the head's loss at a client, 0 ≤ γ < 1"})
    lam: float = field(default=0.2, metadata={"help": "share λ of its own weights that a client keeps, 0 ≤ λ ≤ 1"})

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < 1:
            remedy = "give 0 or more and less than 1; choose cse-fsl for clients that learn by their heads alone"
            raise UsageError("gamma", self.gamma, "is no weight that leaves some to the server's loss", remedy)
        if not 0 <= self.lam <= 1:
            remedy = "give 0, with which all clients become equal, to 1, with which each keeps its weights"
            raise UsageError("lam", self.lam, "is no share", remedy)

    @property
    def head_weight(self) -> float:
        """The weight γ."""
        return self.gamma

    @property
    def own_share(self) -> float:
        """The share λ."""
        return self.lam

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one step of every client's own server copy, on what of its loss the head's leaves."""
        return Downlink(server.learn_copies(uplink, context, context.server_rate, 1 - self.gamma))

    def merge(self, client_weights: Weights, merging: Merging, server: Server) -> Weights:
        """Average the server copies with δ_i, and client segments and heads, which each client mixes with its own."""
        server.merge_copies(merging)
        return super().merge(client_weights, merging, server)
