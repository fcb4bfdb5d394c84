"""Losses by name, and how they are corrected by a client's label prior: the same wherever the labels are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

LARGEST_SHARE = 1 - 1e-7
"""The largest softmax output whose complement still has a logarithm in float32."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of every sample ``[N]``, from logits ``[N, K]`` and class numbers ``[N]``."""
    return F.cross_entropy(logits, labels, reduction="none")


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of the softmax of every sample ``[N]``, averaged over the K classes.

    The loss of the authors' code: every class's probability is held against 1 or 0, so that a sample which is already
    right by a wide margin still pays for what is left to the other classes.
    """
    # By hand: torch's own raises on what is not a number, while training stops with a report of where it diverged.
    wanted = F.one_hot(labels, logits.shape[1]).bool()
    chosen = logits.log_softmax(1)
    others = torch.log1p(-logits.softmax(1).clamp(max=LARGEST_SHARE))
    return -torch.where(wanted, chosen, others).mean(1)


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
}
"""Losses by name: (logits ``[N, K]``, labels ``[N]``) to one value per sample ``[N]``."""


class Loss(NamedTuple):
    """The losses of several rows of samples, and their gradients.

    Parameters
    ----------
    by_logits
        Gradients of every row's mean loss by its own logits, ``[n, b, K]``.
    losses
        The loss of every sample, ``[n, b]``.
    correct
        Whether it was classified right, ``[n, b]``.
    """

    by_logits: Tensor
    losses: Tensor
    correct: Tensor


def loss_and_gradient(loss: str, logits: Tensor, labels: Tensor, log_priors: Tensor | None = None) -> Loss:
    """Return the loss of samples, each row on its own, and its gradients.

    With priors, they are added to the logits: the loss is that of ``logits + log_priors`` (logit adjustment, Menon et
    al. 2007.07314). Whether a sample is classified right is said by the plain logits.

    Parameters
    ----------
    loss
        A name of `LOSSES`.
    logits
        ``[n, b, K]``.
    labels
        Class numbers ``[n, b]``.
    log_priors
        `log_prior` of each sample's client, ``[n, b, K]`` or ``[n, 1, K]``; None for the plain loss.
    """
    given = logits.detach().requires_grad_()
    shifted = given if log_priors is None else given + log_priors
    losses = torch.unflatten(LOSSES[loss](shifted.flatten(0, 1), labels.flatten()), 0, labels.shape)
    (by_logits,) = torch.autograd.grad(losses.mean(1).sum(), given)
    return Loss(by_logits, losses.detach(), logits.detach().argmax(2) == labels)


def log_prior(counts: Tensor) -> Tensor:
    """Return the log of each class's share by counts ``[..., K]``, one added to every class (Laplace)."""
    more = counts + 1.0
    return torch.log(more / more.sum(-1, keepdim=True))
