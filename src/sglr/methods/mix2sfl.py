"""Mix2SFL (IEEE TBD 2023): smashed data of two clients are mixed, gradients and client segments averaged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sglr.core.method import Method
from sglr.core.mixing.smash_mix import check_beta, learn_mixed
from sglr.core.server_protocol import Server
from sglr.core.split_avg import SplitAvg
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["Mix2SFL"]


@dataclass(frozen=True)
class Mix2SFL(Method):
    """Train as SFL, with mixed smashed data in the server's step, and their gradients in what clients are told.

    Each client is the first of one pair and the second of another (a random circle of clients, drawn anew in each
    step), and each pair has its own λ. Both get their part of the mixed gradient, on top of their own; SplitAvg then
    averages the sums by position. Evidence grades C, from the abstract, and B, a third party's code of its mixing
    (SplitBud), which fixes λ at ½ and gives the first of a pair the mixed gradient without the factor λ. Our choices:
    one step of the server on the mean over own and mixed samples, which go through its layers together, and the
    training loss that is reported is over both. Where a pair's batches differ, it mixes what both have. With one client
    it is PSL.

    Notes
    -----
    With L_i the mean loss over client i's batch, k the client behind client i in the circle and h the one before it,
    L~_i the mean loss of what i mixes with k, J_i = ∂s_i / ∂w_c,i, C_a the active clients, and batches of equal size,
    one step is, and the last line ends an epoch:

        s_i = f(w_c,i, B_i)
        s~_i = λ_i s_i + (1 − λ_i) s_k
        L~_i = λ_i ℓ(s~_i, y_i) + (1 − λ_i) ℓ(s~_i, y_k)
        w_s ← w_s − η_s ∂/∂w_s Σ_i (L_i + L~_i) / 2|C|
        g_i = ∂L_i / ∂s_i + λ_i ∂L~_i / ∂s~_i + (1 − λ_h) ∂L~_h / ∂s~_h
        ḡ = Σ_i∈C_a g_i / |C_a|
        w_c,i ← w_c,i − η_c J_iᵀ ḡ, i ∈ C_a
        w_c,i ← w_c,i − η_c J_iᵀ g_i, i ∉ C_a
        w_c,i ← Σ_j δ_j w_c,j
    """

    shares: ClassVar[bool] = True
    mixes: ClassVar[bool] = True

    beta: float = field(default=1.0, metadata={"help": "a > 0: shares λ of a mix are drawn from Beta(a, a)"})
    phi: float = field(default=0.75, metadata={"help": "SplitAvg fraction φ of active clients, 0 to 1; 0 is off"})

    def __post_init__(self) -> None:
        check_beta(self.beta)
        self.split_avg.check()

    @property
    def split_avg(self) -> SplitAvg:
        """The averaging step."""
        return SplitAvg(self.phi, "position", "all")

    @property
    def mixed_share(self) -> float:
        """The fraction φ."""
        return self.split_avg.mixed_share

    @property
    def needs_labels(self) -> bool:
        """True: a mixed sample's loss is of both samples' targets."""
        return True

    @property
    def needs_classes(self) -> bool:
        """False: targets of any kind do."""
        return False

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Let the server step on own and mixed samples; active clients back-propagate the average."""
        return self.split_avg(learn_mixed(server, uplink, context, self.beta), uplink, context)
