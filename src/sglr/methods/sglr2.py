"""SGLR 2, ours: SGLR with slow clients and label frequencies taken out, for clients that keep their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.split_avg import SplitAvg
from sglr.core.split_lr import check_alpha, scaled_rate, split_lr
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["SGLR2"]


@dataclass(frozen=True)
class SGLR2(Method):
    """Train as SGLR; let a client move no farther than its own part of an average over the clients would move it.

    Segments that never meet drift apart, the faster the more their data differ, and the server must serve them all. In
    SplitFed a client's own gradient moves the averaged segment by 1/|C| of a step. Here a client takes that part of a
    step, on its own segment: its rate is divided by |C|^γ, γ = 1, as SplitLr multiplies the server's by |C|^α. What it
    is told has its own label frequencies, divided by those of all data, taken out (``--label-prior auto``), where
    samples have a class; clients that are alike are told what SGLR tells them. No weights are sent.

    This is our own; no paper has it. That a client which never learns does as well on easy data is told where it was
    measured (docs/results/which-method.md).

    Notes
    -----
    With z the logits, ℓ the loss, P_i the label frequencies of client i, P those of all clients, g_s,i = ∂L_i / ∂w_s of
    client i's plain mean loss, β_i B_i's share of the step's samples, b its largest batch, J_i = ∂s_i / ∂w_c,i and C_a
    the active clients, one step is:

        s_i = f(w_c,i, B_i)
        g_i = ∂/∂s_i mean_B_i ℓ(z + log P_i − log P, y)
        η_s = η (Σ_i |B_i| / b)^α
        w_s ← w_s − η_s Σ_i β_i g_s,i
        ḡ = Σ_i∈C_a g_i / |C_a|
        η_c = η (Σ_i |B_i| / b)^−γ
        w_c,i ← w_c,i − η_c J_iᵀ ḡ, i ∈ C_a
        w_c,i ← w_c,i − η_c J_iᵀ g_i, i ∉ C_a
    """

    settings: ClassVar[Mapping[str, str]] = {"label_prior": "auto"}

    alpha: float = field(
        default=0.5, metadata={"help": "SplitLr exponent α, 0 to 50, of the server's rate; 0 is off", "basic": True}
    )
    gamma: float = field(
        default=1.0, metadata={"help": "exponent γ ≥ 0 by which clients are slower; 0 is off", "basic": True}
    )
    phi: float = field(
        default=0.75, metadata={"help": "SplitAvg fraction φ of active clients, 0 to 1; 0 is off", "basic": True}
    )

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_alpha(self.gamma, "gamma", math.inf)  # a client that hardly moves
        self.split_avg.check()

    @property
    def split_avg(self) -> SplitAvg:
        """The averaging step."""
        return SplitAvg(self.phi)

    @property
    def mixed_share(self) -> float:
        """The fraction φ."""
        return self.split_avg.mixed_share

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one joint step at the scaled rate; clients step at theirs, the active ones by the average."""
        rate = scaled_rate(uplink, context, self.alpha)
        told = self.split_avg(server.learn(uplink, context, rate), uplink, context)
        return told._replace(rate_factor=split_lr(uplink.sizes, -self.gamma, unequal=context.unequal_batches))
