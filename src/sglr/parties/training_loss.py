"""The loss where labels come with the outputs: the server's, and that of a client that holds the whole model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sglr.core.events import NO_HITS, TrainMetrics
from sglr.core.task import Task
from sglr.core.types import ByOutputs, Priors, ServerBatch
from sglr.core.weights import Weights, to_device
from sglr.parties.losses import Loss, Mixed, log_prior, loss_and_gradient


class TrainingLoss:
    """The loss of clients' samples, the sums of it since an epoch began, and the labels that were seen.

    Parameters
    ----------
    task
        What is learned.
    clients
        Number of clients whose labels arrive.
    classes
        Number of classes; 0 where samples have no single class.
    label_prior
        ``"own"``: the log label prior of the sample's own client is added to its logits, so that the network can't
        score by recognising the client instead of the image (logit adjustment, Menon et al. 2007.07314; per client,
        FedLC, Zhang et al. 2209.00189). ``"pooled"``: so it is in the loss whose gradients clients are told; in that of
        the server's own step it is the prior of the whole step, of all clients that are in it (SCALA, 2405.04875).
        ``"relative"``: what clients are told has their own prior divided by that of all clients in it, and the server's
        step is plain (ours): so the network keeps the frequencies of all data, and nothing changes where clients are
        alike. Priors are counted from the labels that arrived so far, one added to every class (Laplace).
        ``"ignore"``: the plain loss.
    device
        Where outputs are.

    Attributes
    ----------
    label_counts
        How many labels of each class came from each client, ``[clients, K]``; counted only where priors are corrected.
    """

    def __init__(self, task: Task, *, clients: int, classes: int, label_prior: str, device: torch.device) -> None:
        self._task, self._label_prior, self.corrects_prior = task, label_prior, label_prior != "ignore"
        self.label_counts = torch.zeros(clients, classes, dtype=torch.int64, device=device)
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)
        self._bad_step = torch.full((), -1, device=device)
        self._samples = 0

    def gradient(
        self, outputs: Tensor, targets: Tensor, clients: Sequence[int], sizes: Sequence[int], step: int
    ) -> ByOutputs:
        """Return the gradients of every row's mean loss by its own outputs; add the losses to the sums.

        Parameters
        ----------
        outputs
            ``[n, N, ...]``.
        targets
            ``[n, N, ...]``.
        clients, sizes
            Whose samples these are, in their order, and how many each client has.
        step
            The number of the step, to name the first one whose loss is not finite.

        Returns
        -------
        ByOutputs
            ``[n, N, ...]``, for the step, and for what clients are told.
        """
        priors = self.priors(targets.flatten(), clients, sizes)
        of_step = None if priors is None or priors.step is None else torch.unflatten(priors.step, 0, targets.shape)
        by_outputs = self._noted(loss_and_gradient(self._task, outputs, targets, of_step), step)
        if priors is None or priors.step is priors.told:
            return ByOutputs(by_outputs, None)
        told = torch.unflatten(priors.told, 0, targets.shape)
        return ByOutputs(by_outputs, loss_and_gradient(self._task, outputs, targets, told).by_outputs)

    def plain_gradient(self, outputs: Tensor, targets: Tensor, log_priors: Tensor | None) -> Tensor:
        """Return the gradients of every row's mean loss by its own outputs; count nothing."""
        return loss_and_gradient(self._task, outputs, targets, log_priors).by_outputs

    def of_batch(self, outputs: Tensor, batch: ServerBatch, step: int, told_prior: Tensor | None = None) -> ByOutputs:
        """Return the gradients of a batch's weighted mean loss by its outputs ``[1, N, ...]``; add it to the sums.

        With ``told_prior``, ``[N, K]``, those that clients are told are of the loss with that prior.
        """
        by_outputs = self._noted(self._of_batch(outputs, batch), step)
        if told_prior is None:
            return ByOutputs(by_outputs, None)
        return ByOutputs(by_outputs, self._of_batch(outputs, batch._replace(log_prior=told_prior)).by_outputs)

    def _of_batch(self, outputs: Tensor, batch: ServerBatch) -> Loss:
        others = None if batch.others is None or batch.share is None else Mixed(batch.others[None], batch.share[None])
        priors = None if batch.log_prior is None else batch.log_prior[None]
        weights = None if batch.weights is None else batch.weights[None]
        return loss_and_gradient(self._task, outputs, batch.targets[None], priors, weights=weights, others=others)

    def _noted(self, found: Loss, step: int) -> Tensor:
        self.note(found.losses.sum(), None if found.hits is None else found.hits.sum(), found.losses.numel(), step)
        return found.by_outputs

    def priors(self, labels: Tensor, clients: Sequence[int], sizes: Sequence[int]) -> Priors | None:
        """Count labels ``[N]``; return the log label priors of each sample ``[N, K]``, or None if none is corrected."""
        if not self.corrects_prior:
            return None
        who = to_device(clients, labels.device)
        owners = torch.repeat_interleave(who, to_device(sizes, labels.device), output_size=len(labels))
        ones = torch.ones_like(labels, dtype=torch.int64)
        self.label_counts.view(-1).index_add_(0, owners * self.label_counts.shape[1] + labels, ones)
        own = log_prior(self.label_counts[owners])
        if self._label_prior == "own":
            return Priors(own, own)
        if self._label_prior == "relative":
            return Priors(None, own - log_prior(self.label_counts.sum(0)))
        return Priors(log_prior(self.label_counts[who].sum(0)).expand_as(own), own)

    def own_prior(self, client: int) -> Tensor | None:
        """Return the log label prior of a client ``[K]`` by the labels that it sent, or None if none is corrected."""
        return log_prior(self.label_counts[client]) if self.corrects_prior else None

    def note(self, loss: Tensor, correct: Tensor | None, samples: int, step: int) -> None:
        """Add the sum of a step's losses, and how many of its samples are right; None where none is right or wrong."""
        self._sums[0] += loss
        self._sums[1] += NO_HITS if correct is None else correct
        newly_bad = (self._bad_step < 0) & ~torch.isfinite(loss)
        self._bad_step = torch.where(newly_bad, step, self._bad_step)
        self._samples += samples

    def add(self, tally: TrainMetrics) -> None:
        """Add what clients measured that trained by themselves."""
        self._sums += torch.tensor([tally.loss, tally.correct], dtype=torch.float64, device=self._sums.device)
        self._samples += tally.samples
        if tally.bad_step is not None and int(self._bad_step) < 0:
            self._bad_step.fill_(tally.bad_step)

    def read(self) -> TrainMetrics:
        """Return the sums since `restart`; waits for the device."""
        loss, correct = self._sums.tolist()
        return TrainMetrics(loss, correct, self._samples, self.bad_step())

    def bad_step(self) -> int | None:
        """Return the first step since `restart` whose loss was not finite; waits for the device."""
        bad = int(self._bad_step)
        return None if bad < 0 else bad

    def restart(self) -> None:
        """Begin new sums, at the start of an epoch."""
        self._sums.zero_()
        self._bad_step.fill_(-1)
        self._samples = 0

    def state(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint needs, by name."""
        tensors = {"label_counts": self.label_counts} if self.corrects_prior else {}
        return tensors | {
            "tally.sums": self._sums,
            "tally.counts": torch.tensor([self._samples, int(self._bad_step)]),
        }

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        if self.corrects_prior:
            self.label_counts.copy_(tensors["label_counts"])
        self._sums.copy_(tensors["tally.sums"])
        self._samples, bad = (int(value) for value in tensors["tally.counts"])
        self._bad_step.fill_(bad)
