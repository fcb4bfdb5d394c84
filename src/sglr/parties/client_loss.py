"""The loss where labels stay with the clients (U-shape): what clients answer to the server's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sglr.parties.losses import LOSSES


class Lost(NamedTuple):
    """What clients find of their logits ``[n, b, K]``.

    Parameters
    ----------
    by_logits
        Gradients of each client's own mean loss, ``[n, b, K]``.
    loss, correct
        Each client's sum of losses, and of samples that were classified right, ``[n]``.
    """

    by_logits: Tensor
    loss: Tensor
    correct: Tensor


@dataclass(frozen=True)
class ClientLoss:
    """How clients compute their own loss.

    Parameters
    ----------
    loss
        A name of `sglr.parties.losses.LOSSES`.
    corrects_prior
        Add the log label prior of the client to its logits, as `sglr.parties.server.Server` does; here each client
        counts all labels that it has, since it knows them from the start.
    """

    loss: str = "cross_entropy"
    corrects_prior: bool = False

    def __call__(self, logits: Tensor, labels: Tensor, log_priors: Tensor | None = None) -> Lost:
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
        given = logits.detach().requires_grad_()
        shifted = given if log_priors is None else given + log_priors[:, None]
        losses = torch.unflatten(LOSSES[self.loss](shifted.flatten(0, 1), labels.flatten()), 0, labels.shape)
        (by_logits,) = torch.autograd.grad(losses.mean(1).sum(), given)
        correct = (logits.detach().argmax(2) == labels).sum(1)
        return Lost(by_logits, losses.detach().sum(1), correct)


def log_prior(labels: Tensor, classes: int) -> Tensor:
    """Return the log of each class's share among ``labels``, one added to every class (Laplace), ``[K]``."""
    counts = torch.bincount(labels, minlength=classes) + 1.0
    return torch.log(counts / counts.sum())
