"""The loss of a client's decoder: how far what it finds in the smashed data is from the inputs (LocFedMix-SL)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sglr.parties.losses import Loss


@dataclass(frozen=True)
class DecoderLoss:
    """The squared error of decoded inputs, a mean over a sample's values.

    Parameters
    ----------
    weight
        Of this loss beside the server's.
    """

    weight: float
    corrects_prior: ClassVar[bool] = False

    def __call__(self, outputs: Tensor, targets: Tensor, log_priors: Tensor | None = None) -> Loss:
        """Return the loss of clients side by side and its gradients by their outputs.

        Parameters
        ----------
        outputs, targets
            What was decoded, and the inputs, ``[n, b, ...]``.
        log_priors
            None: there are no labels here.
        """
        del log_priors
        apart = outputs - targets
        losses = self.weight * apart.square().flatten(2).mean(2)
        return Loss(apart * (2 * self.weight / apart[0].numel()), losses, None)
