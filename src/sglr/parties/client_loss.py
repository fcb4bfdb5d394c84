"""The loss where labels stay with the clients (U-shape): what clients answer to the server's features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sglr.parties import losses


@dataclass(frozen=True)
class ClientLoss:
    """How clients compute their own loss.

    Parameters
    ----------
    loss
        A name of `sglr.parties.losses.LOSSES`.
    corrects_prior
        Add the log label prior of the client to its logits, as `sglr.parties.training_loss.TrainingLoss` does; here
        each client counts all labels that it has, since it knows them from the start.
    """

    loss: str = "cross_entropy"
    corrects_prior: bool = False

    def __call__(self, logits: Tensor, labels: Tensor, log_priors: Tensor | None = None) -> losses.Loss:
        """Return the loss of clients side by side and its gradients by their logits.

        Parameters
        ----------
        logits
            ``[n, b, K]``.
        labels
            ``[n, b]``.
        log_priors
            ``[n, K]``, if the prior is corrected.
        """
        return losses.loss_and_gradient(self.loss, logits, labels, None if log_priors is None else log_priors[:, None])


def log_prior(labels: Tensor, classes: int) -> Tensor:
    """Return the log label prior of a client with these labels, ``[K]``."""
    return losses.log_prior(torch.bincount(labels, minlength=classes))
