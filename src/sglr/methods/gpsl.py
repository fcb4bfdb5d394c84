"""GPSL (arXiv 2407.15738): parallel split learning whose batches are drawn from all data, as if in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from sglr.core.errors import unknown
from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink
from sglr.core.weights import to_device

__all__ = ["GPSL"]

MEANS = ("step", "own")
"""Over what the loss is averaged whose gradients clients back-propagate."""


@dataclass(frozen=True)
class GPSL(Method):
    """Train as PSL on B samples drawn from all data without replacement; clients have as many of them as it happens.

    It is ``psl`` with ``--batching global``, which is its default, and gradients of the mean over the step: a sample
    counts the same wherever it lies, so a client with one sample takes a small step. Evidence grade C: the abstract's
    law, batches distributed as in centralized training, leaves no other choice of sizes.

    Notes
    -----
    With R_i the samples that client i has left in the epoch, B those of a step, ℓ the loss of a sample, and J_i =
    ∂s_i / ∂w_c,i, one step is:

        |B_1|, …, |B_C| ~ MultivariateHypergeometric(R_1, …, R_C; B)
        s_i = f(w_c,i, B_i)
        L = Σ_i Σ_j∈B_i ℓ_j / B
        w_s ← w_s − η_s ∂L / ∂w_s
        w_c,i ← w_c,i − η_c J_iᵀ ∂L / ∂s_i
    """

    settings: ClassVar[Mapping[str, str]] = {"batching": "global"}

    mean: str = field(default="step", metadata={"help": "what clients' losses are means over: step, or own: its batch"})

    def __post_init__(self) -> None:
        if self.mean not in MEANS:
            raise unknown("mean", self.mean, MEANS)

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one joint step; every client back-propagates the gradient of the step's mean loss."""
        gradients = server.learn(uplink, context, context.server_rate)
        if self.mean == "own":
            return Downlink(gradients)
        shares = to_device([size / sum(uplink.sizes) for size in uplink.sizes], gradients.device).to(gradients.dtype)
        return Downlink(gradients * shares.reshape(-1, *(1,) * (gradients.dim() - 1)))
