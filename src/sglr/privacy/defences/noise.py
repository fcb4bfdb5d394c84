"""Gaussian noise on what a client sends: every value of its smashed data gets its own draw.

Gradients come back as if there were no noise. With bounded norms (``clip``) each release is a Gaussian mechanism, and
`sglr.privacy.accounting` tells its (ε, δ); without a bound it makes attacks harder and guarantees nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sglr.core.defence import Defence, option

__all__ = ["Noise"]


@dataclass(frozen=True)
class Noise(Defence):
    """Send z + σ n, with n from the standard normal distribution."""

    sigma: float = option(0.5, "standard deviation of the noise on every value", least=0)
    secret: bool = option(
        False,
        "draw from the machine's entropy, not from the run's seed, which others may know; no run can be repeated",
    )

    def privatize_smashed(self, smashed: Tensor, rng: torch.Generator) -> Tensor:
        """Return ``smashed`` ``[b, ...]`` with noise."""
        if self.secret:
            rng = torch.Generator()
            rng.seed()
        drawn = torch.randn(smashed.shape, generator=rng, dtype=torch.float32)
        return smashed + self.sigma * drawn.to(smashed)
