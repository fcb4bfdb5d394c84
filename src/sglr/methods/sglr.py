"""SGLR, the paper's method: SplitLr at the server and SplitAvg at the cut (Algorithm 1, eq. 17)."""

from __future__ import annotations

from dataclasses import dataclass, field

from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.split_avg import SplitAvg
from sglr.core.split_lr import check_alpha, scaled_rate
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["SGLR"]


@dataclass(frozen=True)
class SGLR(Method):
    """Split learning with server-side gradient averaging and learning-rate acceleration.

    One step: clients send smashed data; the server takes one joint step at η_s = η_c |C|^α (SplitLr, which answers its
    |C| times larger batch); a sampled fraction φ of the clients back-propagates the average of their cut-layer
    gradients (SplitAvg, which couples the client segments), the others their own.

    Notes
    -----
    With L_i the mean loss over client i's batch, g_s,i = ∂L_i / ∂w_s and J_i = ∂s_i / ∂w_c,i, one step is, β_i
    being B_i's share of all samples of the step, b its largest batch (its mean batch where ``--batching`` makes them
    unequal) and C_a the active clients:

        s_i = f(w_c,i, B_i)
        g_i = ∂L_i / ∂s_i
        η_s = η_c (Σ_i |B_i| / b)^α
        w_s ← w_s − η_s Σ_i β_i g_s,i
        ḡ = Σ_i∈C_a g_i / |C_a|
        w_c,i ← w_c,i − η_c J_iᵀ ḡ, i ∈ C_a
        w_c,i ← w_c,i − η_c J_iᵀ g_i, i ∉ C_a
    """

    alpha: float = field(
        default=0.5, metadata={"help": "SplitLr exponent α, 0 to 50, of the server's rate; 0 is off", "basic": True}
    )
    phi: float = field(
        default=0.75, metadata={"help": "SplitAvg fraction φ of active clients, 0 to 1; 0 is off", "basic": True}
    )
    average: str = field(default="position", metadata={"help": "what SplitAvg averages over: position or class"})
    phase: str = field(
        default="all",
        metadata={"help": "epochs with SplitAvg: all, or a share such as first:0.6 or last:0.4"},
    )

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        self.split_avg.check()

    @property
    def split_avg(self) -> SplitAvg:
        """The averaging step."""
        return SplitAvg(self.phi, self.average, self.phase)

    @property
    def needs_labels(self) -> bool:
        """Whether averages are by class."""
        return self.split_avg.needs_labels

    @property
    def mixed_share(self) -> float:
        """φ where averages are by position, else 0."""
        return self.split_avg.mixed_share

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one joint step at the scaled rate; active clients back-propagate the average."""
        rate = scaled_rate(uplink, context, self.alpha)
        cut_gradients = server.learn(uplink, context, rate)
        return self.split_avg(cut_gradients, uplink, context)
