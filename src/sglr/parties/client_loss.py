"""The loss where labels stay with the clients (U-shape): what clients answer to the server's features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sglr.core.task import Task
from sglr.parties import losses


@dataclass(frozen=True)
class ClientLoss:
    """How clients compute their own loss.

    Parameters
    ----------
    task
        What is learned.
    corrects_prior
        Add the log label prior of the client to its logits, as `sglr.parties.training_loss.TrainingLoss` does; here
        each client counts all labels that it has, since it knows them from the start.
    weight
        What the loss is multiplied by: a head's may be one of two.
    """

    task: Task
    corrects_prior: bool = False
    weight: float = 1.0

    def __call__(self, outputs: Tensor, targets: Tensor, log_priors: Tensor | None = None) -> losses.Loss:
        """Return the loss of clients side by side and its gradients by their outputs.

        Parameters
        ----------
        outputs
            ``[n, b, ...]``.
        targets
            ``[n, b, ...]``.
        log_priors
            ``[n, K]``, if the prior is corrected.
        """
        priors = None if log_priors is None else log_priors[:, None]
        found = losses.loss_and_gradient(self.task, outputs, targets, priors)
        if self.weight == 1:
            return found
        return found._replace(by_outputs=found.by_outputs * self.weight, losses=found.losses * self.weight)


def log_prior(labels: Tensor, classes: int) -> Tensor:
    """Return the log label prior of a client with these labels, ``[K]``."""
    return losses.log_prior(torch.bincount(labels, minlength=classes))
