"""Smashed data of few values: each sample's are rounded to 2^bits levels between its smallest and its largest.

Gradients pass straight through the rounding (Bengio, Léonard and Courville, arXiv 1308.3432). It makes no message
shorter: that is what compression is for. It gives no privacy guarantee either, since rounding is a fixed function.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from sglr.core.defence import Defence, option

__all__ = ["Quantize"]


@dataclass(frozen=True)
class Quantize(Defence):
    """Round every sample's smashed data to evenly spaced levels of its own."""

    bits: int = option(4, "bits of a value: it takes one of 2^bits levels", least=1, most=16)

    def layer(self) -> nn.Module:
        """Return the layer that rounds."""
        return _Rounded(self.bits)


class _Rounded(nn.Module):
    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, smashed: Tensor) -> Tensor:
        values = smashed.detach()
        flat = values.flatten(1)
        shape = (-1, *(1,) * (smashed.dim() - 1))
        low, high = flat.amin(1).reshape(shape), flat.amax(1).reshape(shape)
        step = (high - low) / (2**self.bits - 1)
        # All values equal: any step but zero rounds them to themselves.
        step = step + (step == 0)
        rounded = low + ((values - low) / step).round() * step
        sent: Tensor = smashed + (rounded - values)
        return sent

    def extra_repr(self) -> str:
        return f"bits={self.bits}"
