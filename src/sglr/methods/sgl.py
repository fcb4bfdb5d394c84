"""PSL with SplitAvg: active clients back-propagate their averaged cut-layer gradient (paper, eq. 15-16)."""

from __future__ import annotations

from dataclasses import dataclass, field

from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.split_avg import SplitAvg
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["SGL"]


@dataclass(frozen=True)
class SGL(Method):
    """Train as PSL, with cut-layer gradients averaged over a sampled fraction φ of the clients.

    Notes
    -----
    With L_i the mean loss over client i's batch, g_s,i = ∂L_i / ∂w_s and J_i = ∂s_i / ∂w_c,i, one step is, β_i
    being B_i's share of all samples of the step and C_a the active clients:

        s_i = f(w_c,i, B_i)
        g_i = ∂L_i / ∂s_i
        w_s ← w_s − η_s Σ_i β_i g_s,i
        ḡ = Σ_i∈C_a g_i / |C_a|
        w_c,i ← w_c,i − η_c J_iᵀ ḡ, i ∈ C_a
        w_c,i ← w_c,i − η_c J_iᵀ g_i, i ∉ C_a
    """

    phi: float = field(default=0.75, metadata={"help": "SplitAvg fraction φ of active clients, 0 to 1; 0 is off"})
    average: str = field(default="position", metadata={"help": "what SplitAvg averages over: position or class"})
    phase: str = field(
        default="all",
        metadata={"help": "epochs with SplitAvg: all, or a share such as first:0.6 or last:0.4"},
    )

    def __post_init__(self) -> None:
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
        """Take one joint step; active clients back-propagate the average, the others their own gradient."""
        cut_gradients = server.learn(uplink, context, context.server_rate)
        return self.split_avg(cut_gradients, uplink, context)
