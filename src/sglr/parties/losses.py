"""The loss of rows of samples and its gradients, corrected by a client's label prior: the same wherever labels are."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sglr.core.task import Task


class Loss(NamedTuple):
    """The losses of several rows of samples, and their gradients.

    Parameters
    ----------
    by_outputs
        Gradients of every row's mean loss by its own outputs, ``[n, b, ...]``.
    losses
        The loss of every sample, ``[n, b]``.
    hits
        How far every sample is right, ``[n, b]``; None where the task knows no right and wrong.
    """

    by_outputs: Tensor
    losses: Tensor
    hits: Tensor | None


def loss_and_gradient(task: Task, outputs: Tensor, targets: Tensor, log_priors: Tensor | None = None) -> Loss:
    """Return the loss of samples, each row on its own, and its gradients.

    With priors, they are added to the logits: the loss is that of ``logits + log_priors`` (logit adjustment, Menon et
    al. 2007.07314). Whether a sample is classified right is said by the plain logits.

    Parameters
    ----------
    task
        What is learned.
    outputs
        ``[n, b, ...]``.
    targets
        ``[n, b, ...]``.
    log_priors
        `log_prior` of each sample's client, ``[n, b, K]`` or ``[n, 1, K]``; None for the plain loss.
    """
    given, rows = outputs.detach().requires_grad_(), targets.shape[:2]
    shifted = given if log_priors is None else given + log_priors
    flat = targets.flatten(0, 1)
    losses = torch.unflatten(task.losses(shifted.flatten(0, 1), flat), 0, rows)
    (by_outputs,) = torch.autograd.grad(losses.mean(1).sum(), given)
    hits = task.hits(outputs.detach().flatten(0, 1), flat)
    return Loss(by_outputs, losses.detach(), None if hits is None else torch.unflatten(hits, 0, rows))


def log_prior(counts: Tensor) -> Tensor:
    """Return the log of each class's share by counts ``[..., K]``, one added to every class (Laplace)."""
    more = counts + 1.0
    return torch.log(more / more.sum(-1, keepdim=True))
