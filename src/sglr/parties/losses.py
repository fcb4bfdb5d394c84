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


class Mixed(NamedTuple):
    """What mixed samples are beside their targets: a sample's loss is share · ℓ(target) + (1 − share) · ℓ(other).

    Parameters
    ----------
    targets
        The others, ``[n, b, ...]``.
    share
        How much of each sample its own target is, ``[n, b]``, 0 to 1.
    """

    targets: Tensor
    share: Tensor


def loss_and_gradient(
    task: Task,
    outputs: Tensor,
    targets: Tensor,
    log_priors: Tensor | None = None,
    *,
    weights: Tensor | None = None,
    others: Mixed | None = None,
) -> Loss:
    """Return the loss of samples, each row on its own, and its gradients.

    With priors, they are added to the logits, as `Task.prior_shift` has it: of one logit per class, the loss is that of
    ``logits + log_priors`` (logit adjustment, Menon et al. 2007.07314). Whether a sample is classified right is said by
    the plain logits.

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
    weights
        Of each sample in its row's mean, ``[n, b]``; None for equal ones.
    others
        What else samples are, in part; None if each is what its target says.
    """
    given, rows = outputs.detach().requires_grad_(), targets.shape[:2]
    shifted = (given if log_priors is None else given + task.prior_shift(log_priors)).flatten(0, 1)
    flat = targets.flatten(0, 1)
    losses = torch.unflatten(task.losses(shifted, flat), 0, rows)
    if others is not None:
        second = torch.unflatten(task.losses(shifted, others.targets.flatten(0, 1)), 0, rows)
        losses = others.share * losses + (1 - others.share) * second
    means = losses.mean(1) if weights is None else (losses * weights).sum(1) / weights.sum(1)
    (by_outputs,) = torch.autograd.grad(means.sum(), given)
    hits = task.hits(outputs.detach().flatten(0, 1), flat)
    return Loss(by_outputs, losses.detach(), None if hits is None else torch.unflatten(hits, 0, rows))


def log_prior(counts: Tensor) -> Tensor:
    """Return the log of each class's share by counts ``[..., K]``, one added to every class (Laplace)."""
    more = counts + 1.0
    return torch.log(more / more.sum(-1, keepdim=True))
