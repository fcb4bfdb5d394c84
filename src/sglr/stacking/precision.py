"""In which precision passes are computed, and whether they are compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from sglr.core.errors import UsageError


@dataclass(frozen=True)
class Precision:
    """How the passes of clients and server are computed.

    Weights, optimizers, losses and what crosses the cut are single precision in any case: what a client sends is a
    question of ``compression``, which counts and codes it, and a mean over clients should not be rounded again.

    Parameters
    ----------
    precision
        ``"fp32"``; ``"tf32"``, whose products of matrices are of numbers rounded to 10 bits, on a GPU that has them; or
        ``"bf16"``, torch's automatic mixed precision.
    compiled
        True if passes in training are compiled by ``torch.compile``.
    """

    precision: str = "fp32"
    compiled: bool = False

    def prepare(self, device: torch.device) -> None:
        """Set the precision of this process.

        Raises
        ------
        UsageError
            If the device can't.
        """
        if device.type == "cuda":
            # cuDNN's own default is TF32, which is not what fp32 says.
            torch.backends.cuda.matmul.allow_tf32 = self.precision == "tf32"
            torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
        elif self.precision == "tf32":
            remedy = "give fp32, or bf16, or --device cuda"
            raise UsageError("precision", "tf32", f"is for CUDA devices, and this one is {device.type}", remedy)

    @contextmanager
    def mixed(self, device: torch.device) -> Iterator[None]:
        """Compute within this context in mixed precision, if that is the precision."""
        # Every pass casts a weight once, so that there is nothing to remember between casts.
        with torch.autocast(device.type, torch.bfloat16, self.precision == "bf16", cache_enabled=False):
            yield

    def single(self, outputs: Tensor) -> Tensor:
        """Return what leaves a segment in single precision."""
        return outputs.float() if self.precision == "bf16" else outputs


SINGLE_PRECISION = Precision()
"""Single precision, not compiled."""
