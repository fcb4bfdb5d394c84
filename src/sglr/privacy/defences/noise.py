"""Gaussian noise on what a client sends: every value of its smashed data gets its own draw.

Gradients come back as if there were no noise. With bounded norms (``clip``) each release is a Gaussian mechanism, and
`sglr.privacy.accounting` tells its (ε, δ); without a bound it makes attacks harder and guarantees nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sglr.core.defence import Defence, option
from sglr.core.random import normals_of

__all__ = ["Noise"]


@dataclass(frozen=True)
class Noise(Defence):
    """Send z + σ n, with n from the standard normal distribution."""

    sigma: float = option(0.5, "standard deviation of the noise on every value", least=0)
    secret: bool = option(
        False,
        "draw from a secret of the machine, not from the run's seed, which others may know; no run can be repeated",
    )

    @property
    def draws_secretly(self) -> bool:
        """Whether draws follow from a secret."""
        return self.secret

    def privatize_smashed(self, smashed: Tensor, rng: torch.Generator) -> Tensor:
        """Return ``smashed`` ``[b, ...]`` with noise."""
        drawn = torch.randn(smashed.shape, generator=rng, dtype=torch.float32)
        return smashed + self.sigma * drawn.to(smashed)

    def privatize_secretly(self, smashed: Tensor, secrets: Sequence[bytes]) -> Tensor:
        """Return ``smashed`` ``[b, ...]`` with noise that only the secrets tell."""
        drawn = torch.stack([normals_of(secret, smashed[0].numel()) for secret in secrets])
        return smashed + self.sigma * drawn.reshape(smashed.shape).to(smashed)
