"""The server: it holds the upper segment, learns from uplinks and answers with cut-layer gradients.

**How losses are normalised**, here and nowhere else: the server minimises the mean loss over all samples of the
step (one loss over everything, Algorithm 1), so a client's part in its gradient is δ_i = |B_i| / |B_s|. The
cut-layer gradient that a client receives is that of the mean loss over *its own* batch. Else it would shrink
by 1/|C| as clients join, which Adam hides and SGD does not (the authors' code lets it shrink).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sglr.core.events import TrainMetrics
from sglr.core.merging import Merging
from sglr.core.optim import OptimizerSpec
from sglr.core.types import Answer, Uplink
from sglr.core.weights import Weights, below, state_of, to_device
from sglr.parties.defences import DefenceChain
from sglr.parties.losses import LOSSES
from sglr.splitting.segment_weights import load_state
from sglr.stacking.passes import Pass
from sglr.stacking.precision import SINGLE_PRECISION, Precision
from sglr.stacking.stack import Stack


class Server:
    """The upper segment, its optimizer, and what the server learns about its clients' labels.

    Parameters
    ----------
    segment
        The upper segment; after it come logits ``[N, K]``.
    optimizer
        The server's optimizer.
    classes
        K.
    clients
        Number of registered clients.
    label_prior
        ``"correct"``: while training, the log label prior of the sample's own client is added to its logits, so
        that the network can't score by recognising the client instead of the image (logit adjustment, Menon et
        al. 2007.07314; per client, FedLC, Zhang et al. 2209.00189). Priors are counted from received labels, one
        added to every class (Laplace). ``"ignore"``: the plain loss.
    clip_norm
        Largest norm of the server's gradient, or None.
    device
        Where the segment lives.
    loss
        A name of `sglr.parties.losses.LOSSES`.
    copies
        True if every client has its own copy of the upper segment (SplitFed v1).
    stacked
        Run such copies as one call, not one after another.
    precision
        In which precision passes are computed, and whether they are compiled.
    defences
        The defences of labels, which change the gradients that it tells, not its own steps.

    Attributes
    ----------
    ask
        Where labels stay with the clients (U-shape): gives their answer to features ``[n, b, ...]`` of the clients that
        it is told. None where the server has the labels.
    features
        Shape of one sample's features in the last step, where clients are asked.
    """

    def __init__(
        self,
        segment: nn.Module,
        optimizer: OptimizerSpec,
        *,
        classes: int,
        clients: int,
        label_prior: str,
        clip_norm: float | None,
        device: torch.device,
        loss: str = "cross_entropy",
        copies: bool = False,
        stacked: bool = True,
        precision: Precision = SINGLE_PRECISION,
        defences: DefenceChain | None = None,
    ) -> None:
        self.rate = 0.0
        self._defences = defences or DefenceChain()
        self.ask: Callable[[Tensor, tuple[int, ...]], Answer] | None = None
        self.features: tuple[int, ...] | None = None
        self._loss = LOSSES[loss]
        self.corrects_prior = label_prior == "correct"
        self.label_counts = torch.zeros(clients, classes, device=device)
        self.copies: Stack | None = None
        if copies:
            self.copies = Stack(
                lambda _: copy.deepcopy(segment),
                clients,
                optimizer,
                clip_norm=clip_norm,
                stacked=stacked,
                device=device,
                precision=precision,
            )
        self.stack = Stack(
            lambda _: segment, 1, optimizer, clip_norm=clip_norm, stacked=False, device=device, precision=precision
        )
        # Set by the training loop, to name the step in which a loss went bad, and to key what is drawn.
        self.epoch = self.step_number = 0
        self.last_rate = 0.0
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)
        self._bad_step = torch.full((), -1, device=device)
        self._samples = 0

    @property
    def segment(self) -> nn.Module:
        """The upper segment, as it is now."""
        assert self.stack.module is not None, "a stack of one row"
        return self.stack.module

    def learn(self, uplink: Uplink, rate_factor: float = 1.0) -> Tensor:
        """Take one joint step on everything received, at the server's rate times ``rate_factor``.

        Returns
        -------
        Tensor
            Cut-layer gradients ``[C, b, ...]``, each of the mean loss over the client's own batch.
        """
        self.last_rate = self.rate * rate_factor
        smashed = uplink.flatten(uplink.smashed)[None]
        found = _own_mean(uplink.unflatten(self._learn(self.stack, (0,), smashed, uplink)[0]), uplink)
        return self._told(found, uplink)

    def _told(self, gradients: Tensor, uplink: Uplink) -> Tensor:
        """Return what clients are told of their gradients ``[C, b, ...]``; whoever keeps the labels perturbs them."""
        if self.ask is not None:
            return gradients
        where = self.epoch, self.step_number
        return self._defences.privatize_gradient(gradients, uplink.labels, uplink.clients, uplink.sizes, *where)

    def _learn(self, stack: Stack, rows: tuple[int, ...], smashed: Tensor, uplink: Uplink) -> Tensor:
        """Let rows step, each on the mean loss of its own ``[N, ...]`` of ``smashed`` ``[n, N, ...]``.

        Returns
        -------
        Tensor
            Each row's gradients by its own smashed data, ``[n, N, ...]``.
        """
        forward = stack.forward(rows, smashed, by_inputs=True)
        by_outputs = self._by_logits(forward.outputs, uplink) if self.ask is None else self._asked(forward, uplink)
        found = stack.backward(forward, by_outputs)
        stack.update(rows, found.weights, self.last_rate)
        assert found.inputs is not None, "asked for above"
        return found.inputs

    def _by_logits(self, outputs: Tensor, uplink: Uplink) -> Tensor:
        """Return the gradients of every row's mean loss by its own logits ``[n, N, K]``."""
        logits = outputs.detach().requires_grad_()
        losses = self._losses(logits.flatten(0, 1), uplink)
        row_means = torch.unflatten(losses, 0, logits.shape[:2]).mean(1)
        (by_logits,) = torch.autograd.grad(row_means.sum(), logits)
        return by_logits

    def _asked(self, forward: Pass, uplink: Uplink) -> Tensor:
        """Have the clients find the loss; return its gradients by every row's own features ``[n, N, ...]``.

        Clients tell gradients of their own means. Whoever does not answer counts with a gradient of zero.
        """
        assert self.ask is not None, "labels are with the clients"
        outputs = forward.outputs
        self.features = tuple(outputs.shape[2:])
        answer = self.ask(uplink.unflatten(outputs.flatten(0, 1)), uplink.clients)
        shares = to_device([size / outputs.shape[1] for size in uplink.sizes], outputs.device).to(outputs.dtype)
        scaled = answer.gradients * shares.reshape(-1, *(1,) * (outputs.dim() - 1))
        self._note(answer.loss.sum(), answer.correct.sum(), sum(answer.sizes))
        return torch.unflatten(uplink.flatten(scaled), 0, outputs.shape[:2])

    def learn_copies(self, uplink: Uplink) -> Tensor:
        """Let every client's own copy of the segment take one step on that client's batch (SplitFed v1).

        Returns
        -------
        Tensor
            Cut-layer gradients ``[C, b, ...]``, each of the mean loss over the client's own batch.
        """
        assert self.copies is not None, "built without copies"
        self.last_rate = self.rate
        result = torch.zeros_like(uplink.smashed, memory_format=torch.contiguous_format)
        for size in sorted(set(uplink.sizes)):
            places = [place for place, own in enumerate(uplink.sizes) if own == size]
            part = Uplink(
                uplink.smashed[places, :size],
                None if uplink.told is None else uplink.told[places, :size],
                tuple(uplink.clients[place] for place in places),
                (size,) * len(places),
            )
            result[places, :size] = self._learn(self.copies, part.clients, part.smashed, part)
        return self._told(result, uplink)

    def merge_copies(self, merging: Merging) -> None:
        """Merge the copies of those who are merged, and give all copies the result."""
        assert self.copies is not None, "built without copies"
        buffers = {name for name, _ in self.segment.named_buffers()}
        of_copies = dataclasses.replace(merging, last=state_of(self.segment), buffers=buffers)
        merged = of_copies.merge(self.copies.weights(merging.clients))
        self.copies.load(tuple(range(self.copies.rows)), merged)
        load_state(self.segment, merged)

    def _losses(self, logits: Tensor, uplink: Uplink) -> Tensor:
        """The loss of every real sample ``[N]``, prior-corrected if asked; tallies it."""
        labels = uplink.flatten(uplink.labels)
        plain = logits.detach()
        if self.corrects_prior:
            logits = logits + self._log_prior(uplink, labels)
        losses = self._loss(logits, labels)
        self._tally(losses.detach(), plain, labels)
        return losses

    def _log_prior(self, uplink: Uplink, labels: Tensor) -> Tensor:
        """Log label prior of each sample's client ``[N, K]``, counted from all labels received so far."""
        clients = to_device(uplink.clients, labels.device)
        sizes = to_device(uplink.sizes, labels.device)
        owners = torch.repeat_interleave(clients, sizes, output_size=sum(uplink.sizes))
        classes = self.label_counts.shape[1]
        ones = torch.ones(len(labels), device=labels.device)
        self.label_counts.view(-1).index_add_(0, owners * classes + labels, ones)
        counts = self.label_counts[owners] + 1
        return torch.log(counts / counts.sum(1, keepdim=True))

    def _tally(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        self._note(losses.sum(), (logits.argmax(1) == labels).sum(), len(labels))

    def _note(self, loss: Tensor, correct: Tensor, samples: int) -> None:
        """Add the sums of a step's losses and of samples that were classified right."""
        self._sums[0] += loss
        self._sums[1] += correct
        newly_bad = (self._bad_step < 0) & ~torch.isfinite(loss)
        self._bad_step = torch.where(newly_bad, self.step_number, self._bad_step)
        self._samples += samples

    def read_tally(self) -> TrainMetrics:
        """Return the sums since `restart_tally`; waits for the device."""
        loss, correct = self._sums.tolist()
        return TrainMetrics(loss, int(correct), self._samples, self.bad_step())

    def add_tally(self, tally: TrainMetrics) -> None:
        """Add what clients measured that trained by themselves."""
        self._sums += torch.tensor([tally.loss, tally.correct], dtype=torch.float64, device=self._sums.device)
        self._samples += tally.samples
        if tally.bad_step is not None and int(self._bad_step) < 0:
            self._bad_step.fill_(tally.bad_step)

    def bad_step(self) -> int | None:
        """Return the first step since `restart_tally` whose loss was not a number; waits for the device."""
        bad = int(self._bad_step)
        return None if bad < 0 else bad

    def restart_tally(self) -> None:
        """Begin new sums, at the start of an epoch."""
        self._sums.zero_()
        self._bad_step.fill_(-1)
        self._samples = 0

    def state(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint needs, by name."""
        tensors = {f"segment.{name}": tensor for name, tensor in self.stack.state().items()}
        if self.corrects_prior:
            tensors["label_counts"] = self.label_counts
        tensors["tally.sums"] = self._sums
        tensors["tally.counts"] = torch.tensor([self._samples, int(self._bad_step)])
        if self.copies is not None:
            tensors |= {f"copies.{name}": tensor for name, tensor in self.copies.state().items()}
        return tensors

    def restore(self, tensors: Weights) -> None:
        """Take up what `state` returned."""
        self.stack.restore(below("segment.", tensors))
        if self.corrects_prior:
            self.label_counts.copy_(tensors["label_counts"])
        self._sums.copy_(tensors["tally.sums"])
        self._samples, bad = (int(value) for value in tensors["tally.counts"])
        self._bad_step.fill_(bad)
        if self.copies is not None:
            self.copies.restore(below("copies.", tensors))


def _own_mean(gradients: Tensor, uplink: Uplink) -> Tensor:
    """Scale gradients of the mean over all N samples to those of the mean over each client's own batch."""
    total = sum(uplink.sizes)
    if uplink.full:
        return gradients.mul_(total / uplink.sizes[0])
    factors = to_device([total / size for size in uplink.sizes], gradients.device)
    return gradients * factors.reshape(-1, *(1,) * (gradients.dim() - 1))
