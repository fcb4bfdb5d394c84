"""Smashed data that depend less on inputs: their distance correlation is added to the client's loss.

Vepakomma, Singh, Gupta, Raskar: *NoPeek: Information leakage reduction to share activations in distributed deep
learning* (arXiv 2008.09161): minimise the task's loss + weight x DCor(inputs, smashed). The term is the client's own,
so the server needs to know nothing of it. It is computed within a client's batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sglr.core.defence import Defence, option
from sglr.privacy.measures.distance_correlation import distance_correlation

__all__ = ["NoPeek"]


@dataclass(frozen=True)
class NoPeek(Defence):
    """Add ``weight`` times the distance correlation of inputs and smashed data to a client's loss."""

    compares_inputs: ClassVar[bool] = True

    weight: float = option(0.5, "weight of the distance correlation in the loss", least=0)

    def extra_gradient(self, inputs: Tensor, smashed: Tensor) -> Tensor:
        """Return the term's gradient by the smashed data ``[b, ...]``; zero for a single sample."""
        if len(smashed) < 2:
            return torch.zeros_like(smashed)
        # Backward passes may be computed where gradients are switched off.
        with torch.enable_grad():
            leaf = smashed.detach().requires_grad_()
            term = self.weight * distance_correlation(inputs.detach(), leaf)
            (found,) = torch.autograd.grad(term, leaf)
        return found.to(smashed.dtype)
