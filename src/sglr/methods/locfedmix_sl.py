"""LocFedMix-SL (WWW 2022): smashed data of two clients are mixed, and clients train by a decoder's loss, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar

from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.mixing.smash_mix import check_beta, learn_mixed
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["LocFedMixSL"]


@dataclass(frozen=True)
class LocFedMixSL(Method):
    """Train as SFL, with mixed smashed data in the server's step, and a decoder at each client that finds inputs again.

    The decoder's loss keeps information on the inputs in what is sent: **the opposite of a defence** such as NoPeek;
    measure what leaks. Mixing is that of Mix2SFL, whose choices are ours; evidence grades B, a third party's code of
    the mixing (SplitBud), and D for the decoder, of which no code was at hand. Our choices: the squared error is a mean
    over a sample's values; a decoder is two convolutions, or two linear layers where inputs are no images; it stays at
    its client, while client segments are averaged.

    Notes
    -----
    With L_i the mean loss over client i's batch x_i, k the client behind client i in the circle and h the one before
    it, L~_i the mean loss of what i mixes with k, d_i the decoder, ω its weight, J_i = ∂s_i / ∂w_c,i, and batches of
    equal size, one step is, and the last line ends an epoch:

        s_i = f(w_c,i, B_i)
        s~_i = λ_i s_i + (1 − λ_i) s_k
        L~_i = λ_i ℓ(s~_i, y_i) + (1 − λ_i) ℓ(s~_i, y_k)
        w_s ← w_s − η_s ∂/∂w_s Σ_i (L_i + L~_i) / 2|C|
        g_i = ∂L_i / ∂s_i + λ_i ∂L~_i / ∂s~_i + (1 − λ_h) ∂L~_h / ∂s~_h
        D_i = ω mean (d_i(s_i) − x_i)^2
        d_i ← d_i − η_c ∂D_i / ∂d_i
        w_c,i ← w_c,i − η_c J_iᵀ (g_i + ∂D_i / ∂s_i)
        w_c,i ← Σ_j δ_j w_c,j
    """

    shares: ClassVar[bool] = True
    decodes: ClassVar[bool] = True
    mixes: ClassVar[bool] = True

    beta: float = field(default=1.0, metadata={"help": "a > 0: shares λ of a mix are drawn from Beta(a, a)"})
    reconstruction: float = field(default=1.0, metadata={"help": "weight ω ≥ 0 of the decoder's loss at the client"})

    def __post_init__(self) -> None:
        check_beta(self.beta)
        if not (isfinite(self.reconstruction) and self.reconstruction >= 0):
            raise UsageError("reconstruction", self.reconstruction, "is below zero", "give a weight, such as 1")

    @property
    def decoder_weight(self) -> float:
        """The weight ω."""
        return self.reconstruction

    @property
    def needs_labels(self) -> bool:
        """True: a mixed sample's loss is of both samples' targets."""
        return True

    @property
    def needs_classes(self) -> bool:
        """False: targets of any kind do."""
        return False

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Let the server step on own and mixed samples; every client back-propagates its parts in both."""
        return Downlink(learn_mixed(server, uplink, context, self.beta))
