"""One client's tail, where labels stay with it: features in, gradients by them and the loss out."""

from __future__ import annotations

import torch
from torch import Tensor

from sglr.core.events import NO_HITS, TrainMetrics
from sglr.core.task import Task
from sglr.parties.client_loss import ClientLoss, log_prior
from sglr.parties.defences import DefenceChain
from sglr.parties.tails import TailStep
from sglr.stacking.passes import Pass
from sglr.stacking.stack import Stack


class ClientTail:
    """What a client does with the server's features.

    Parameters
    ----------
    client
        Its number.
    targets
        Its targets ``[|D_i|, ...]``.
    classes
        K, or 0 where samples have no single class.
    loss
        How it computes the loss.
    defences
        Its defences.
    """

    def __init__(self, client: int, targets: Tensor, classes: int, loss: ClientLoss, defences: DefenceChain) -> None:
        self._client, self._loss, self._defences = client, loss, defences
        self._log_prior = log_prior(targets, classes) if loss.corrects_prior else torch.empty(0)
        self._step: TailStep | None = None
        self.features: Tensor | None = None
        """Answered features that wait for their gradient, ``[b, ...]``: the next process answers them again."""

    def answer(
        self, stack: Stack, forward: Pass, targets: Tensor, where: tuple[int, int], features: Tensor
    ) -> tuple[Tensor, float, float]:
        """Find the loss at ``features`` ``[b, ...]`` of samples with ``targets`` ``[b, ...]``; keep its gradients.

        Returns
        -------
        tuple
            Gradients by the features ``[b, ...]`` as they are sent, the sum of losses, and samples classified right.
        """
        passes = [([0], forward)]
        labels, who = targets[None], (self._client,)
        assert stack.tail is not None, "this client has a tail"
        step = TailStep(stack.tail, self._loss, lambda _: self._log_prior, who, labels, passes, self._defences, where)
        found = step.answer(features.to(labels.device)[None], who)
        self._step, self.features = step, features
        return found.gradients[0].cpu(), float(found.loss), float(found.correct)

    def added(self, gradients: list[Tensor]) -> list[Tensor]:
        """Return a pass's gradients with those of the tail, which are forgotten.

        Raises
        ------
        ValueError
            If no features came for this pass.
        """
        if self._step is None:
            raise ValueError("a gradient came before the features")
        found = self._step.added(0, gradients)
        self.forget()
        return found

    def forget(self) -> None:
        """Forget gradients of a pass that is dropped."""
        self._step = self.features = None


def tally(task: Task, outputs: Tensor, targets: Tensor) -> TrainMetrics:
    """Return what outputs ``[m, ...]`` of held-out samples come to."""
    with torch.no_grad():
        hits = task.hits(outputs, targets)
        correct = NO_HITS if hits is None else float(hits.sum())
        return TrainMetrics(float(task.test_losses(outputs, targets).sum()), correct, len(targets))
