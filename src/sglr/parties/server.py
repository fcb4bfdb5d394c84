"""The server: it holds the upper segment, learns from uplinks and answers with cut-layer gradients.

**How losses are normalised**, here and nowhere else: the server minimises the mean loss over all samples of the
step (one loss over everything, Algorithm 1), so a client's part in its gradient is δ_i = |B_i| / |B_s|. The
cut-layer gradient that a client receives is that of the mean loss over *its own* batch. Else it would shrink
by 1/|C| as clients join, which Adam hides and SGD does not (the authors' code lets it shrink).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sglr.core.cuts.cut_rows import StageRates
from sglr.core.events import ServerWork, TrainMetrics
from sglr.core.merging import Merging
from sglr.core.types import Answer, ByOutputs, HandOut, Priors, ServerBatch, StepContext, Uplink
from sglr.core.weights import Weights, below, state_of, to_device
from sglr.parties.aligned_heads import AlignedHeads
from sglr.parties.counted_passes import CountedPasses, still
from sglr.parties.server_spec import ServerSpec
from sglr.parties.stages import Stages, defended_by_cut
from sglr.parties.training_loss import TrainingLoss
from sglr.splitting.segment_weights import load_state
from sglr.stacking.passes import Pass
from sglr.stacking.stack import Stack


class SplitServer:
    """The server of a training in this process: see `sglr.core.server_protocol.Server`.

    Parameters
    ----------
    spec
        What it is made of.
    device
        Where the segment lives.
    """

    def __init__(self, spec: ServerSpec, device: torch.device) -> None:
        self._defences, self._ask = spec.defences, spec.ask
        self.loss = TrainingLoss(
            spec.task, clients=spec.clients, classes=spec.classes, label_prior=spec.label_prior, device=device
        )
        self.copies = spec.stack_of_copies(device) if spec.copies else None
        self.stack = spec.stack(device)
        self.heads = None if spec.head is None else AlignedHeads(spec.head, spec.task, device)
        self.last_rate, self.classes, self._passes = 0.0, spec.classes, CountedPasses()
        self.features: tuple[int, ...] | None = None
        self._stages = None if spec.cuts is None else Stages(spec.segment, spec.cuts)
        self._rate: float | StageRates = 0.0

    @property
    def segment(self) -> nn.Module:
        """The upper segment, as it is now."""
        assert self.stack.module is not None, "a stack of one row"
        return self.stack.module

    @property
    def work(self) -> ServerWork | None:
        """How many samples went through the segment so far; None after a checkpoint that does not know it."""
        return self._passes.work

    def learn(self, uplink: Uplink, context: StepContext, rate: float | StageRates) -> Tensor:
        """Take one joint step on everything received, at ``rate``.

        Returns
        -------
        Tensor
            Cut-layer gradients ``[C, b, ...]``, each of the mean loss over the client's own batch.
        """
        self._set_rate(rate)
        smashed = uplink.flatten(uplink.smashed)[None]
        found = uplink.unflatten(self._learn(self.stack, (0,), smashed, uplink, context)[0])
        return self.defended(_own_mean(found, uplink), uplink, context)

    def defended(self, gradients: Tensor, uplink: Uplink, context: StepContext) -> Tensor:
        """Return what clients get of their gradients ``[C, b, ...]``; whoever keeps the labels privatizes them."""
        if self._ask is not None:
            return gradients
        return defended_by_cut(self._defences, gradients, uplink, context)

    def _set_rate(self, rate: float | StageRates) -> None:
        self._rate, self.last_rate = rate, rate.rates[-1] if isinstance(rate, StageRates) else rate

    def _update(
        self,
        stack: Stack,
        rows: tuple[int, ...],
        gradients: Sequence[Tensor],
        samples: int,
        context: StepContext,
        entered: Sequence[float] | None = None,
    ) -> None:
        """Let rows step at the rate that is set, on means over so many samples, or keep their gradients.

        ``entered`` is as in `Stages.step`.
        """
        rate: float | Sequence[tuple[Sequence[int], float]] = self.last_rate
        if self._stages is not None:
            gradients, rate = self._stages.step(stack, gradients, self._rate, entered)
        stack.update(rows, gradients, rate, samples, keep=() if context.updates else rows)

    def _learn(
        self,
        stack: Stack,
        rows: tuple[int, ...],
        smashed: Tensor,
        uplink: Uplink,
        context: StepContext,
        weight: float = 1.0,
    ) -> Tensor:
        """Let rows step, each on ``weight`` times the mean loss of its own ``[N, ...]`` of ``smashed`` ``[n, N, ...]``.

        Returns
        -------
        Tensor
            Each row's gradients by its own smashed data, ``[n, N, ...]``.
        """
        forward = self._passes.forward(stack, rows, smashed, by_inputs=True)
        by_outputs = (self._by_targets if self._ask is None else self._by_features)(forward, uplink, context)
        entered = None
        if context.staleness:
            by_outputs = _by_age(by_outputs, uplink, context.staleness)
            entered = None if self._stages is None else self._stages.weights_by_age(uplink, context.staleness)
        if weight != 1:
            told = None if by_outputs.told is None else by_outputs.told * weight
            by_outputs = ByOutputs(by_outputs.step * weight, told)
        return self._go_back(stack, forward, by_outputs, smashed.shape[1], context, entered)

    def _go_back(
        self,
        stack: Stack,
        forward: Pass,
        by_outputs: ByOutputs,
        samples: int,
        context: StepContext,
        entered: Sequence[float] | None = None,
    ) -> Tensor:
        """Let the rows of a pass step, each on the mean of its ``samples``; return what clients are told, by inputs."""
        found = self._passes.backward(stack, forward, by_outputs.step, inputs=by_outputs.told is None)
        own = by_outputs.told
        told = found if own is None else self._passes.backward(stack, forward, own, weights=False)
        self._update(stack, forward.rows, found.weights, samples, context, entered)
        assert told.inputs is not None, "the pass was made for them"
        return told.inputs

    def gradients(self, uplink: Uplink, context: StepContext, log_prior: Tensor | None = None) -> Tensor:
        """Return the cut-layer gradients ``[C, b, ...]`` at the weights as they are: see the protocol."""
        return self.defended(self._gradients(uplink, log_prior), uplink, context)

    def _gradients(self, uplink: Uplink, log_prior: Tensor | None = None) -> Tensor:
        """Return them as the server finds them."""
        with still(self.stack):
            forward = self._passes.forward(self.stack, (0,), uplink.flatten(uplink.smashed)[None], by_inputs=True)
            if self._ask is None:
                priors = None if log_prior is None else log_prior[None]
                targets = uplink.flatten(uplink.labels)[None]
                by_outputs = self.loss.plain_gradient(forward.outputs, targets, priors)
            else:
                by_outputs = self._asked(forward, uplink)[1]
            found = self._passes.backward(self.stack, forward, by_outputs, weights=False).inputs
        assert found is not None, "asked for above"
        return _own_mean(uplink.unflatten(found[0]), uplink)

    def _entered(self, batch: ServerBatch) -> list[float] | None:
        return None if self._stages is None else self._stages.weights_of(batch)

    def step(self, batch: ServerBatch, context: StepContext, rate: float) -> None:
        """Take one step on a batch of the method's own making, and count its loss."""
        self._set_rate(rate)
        forward = self._passes.forward(self.stack, (0,), batch.smashed[None])
        by_outputs = self.loss.of_batch(forward.outputs, batch, context.number).step
        found = self._passes.backward(self.stack, forward, by_outputs)
        self._update(self.stack, (0,), found.weights, len(batch.targets), context, self._entered(batch))

    def learn_batch(
        self, batch: ServerBatch, context: StepContext, rate: float, told_prior: Tensor | None = None
    ) -> Tensor:
        """Take one step on a batch of the method's own making; return gradients by its smashed data ``[N, ...]``."""
        self._set_rate(rate)
        forward = self._passes.forward(self.stack, (0,), batch.smashed[None], by_inputs=True)
        by_outputs = self.loss.of_batch(forward.outputs, batch, context.number, told_prior)
        return self._go_back(self.stack, forward, by_outputs, len(batch.targets), context, self._entered(batch))[0]

    @torch.no_grad()
    def by_outputs(self, uplink: Uplink, context: StepContext) -> ByOutputs:
        """Count the loss of a step; return its gradients by the outputs ``[N, ...]``: see the protocol."""
        forward = self._passes.forward(self.stack, (0,), uplink.flatten(uplink.smashed)[None])
        with torch.enable_grad():
            found = self._by_targets(forward, uplink, context)
        return ByOutputs(found.step[0], None if found.told is None else found.told[0])

    def back_propagate(
        self, smashed: Tensor, by_outputs: ByOutputs, context: StepContext, rate: float, samples: int
    ) -> Tensor:
        """Step on given gradients by the outputs; return those by the smashed data ``[n, ...]``: see the protocol."""
        self._set_rate(rate)
        of_row = ByOutputs(by_outputs.step[None], None if by_outputs.told is None else by_outputs.told[None])
        with still(self.stack):
            forward = self._passes.forward(self.stack, (0,), smashed[None], by_inputs=True)
            return self._go_back(self.stack, forward, of_row, samples, context)[0]

    def priors(self, uplink: Uplink) -> Priors | None:
        """Count a step's labels, as `learn` does by itself; return the priors to correct, or None."""
        return self.loss.priors(uplink.flatten(uplink.labels).flatten(), uplink.clients, uplink.sizes)

    def _by_targets(self, forward: Pass, uplink: Uplink, context: StepContext) -> ByOutputs:
        """Return the gradients of every row's mean loss by its own outputs ``[n, N, ...]``."""
        targets = torch.unflatten(uplink.flatten(uplink.labels), 0, forward.outputs.shape[:2])
        return self.loss.gradient(forward.outputs, targets, uplink.clients, uplink.sizes, context.number)

    def _by_features(self, forward: Pass, uplink: Uplink, context: StepContext) -> ByOutputs:
        """Have the clients find the loss; return its gradients, and count it."""
        answer, by_outputs = self._asked(forward, uplink)
        self.loss.note(answer.loss.sum(), answer.correct.sum(), sum(answer.sizes), context.number)
        return ByOutputs(by_outputs, None)

    def _asked(self, forward: Pass, uplink: Uplink) -> tuple[Answer, Tensor]:
        """Have the clients find the loss; return its gradients by every row's own features ``[n, N, ...]``.

        Clients send gradients of their own means. Whoever does not answer counts with a gradient of zero.
        """
        assert self._ask is not None, "labels are with the clients"
        outputs = forward.outputs
        self.features = tuple(outputs.shape[2:])
        answer = self._ask(uplink.unflatten(outputs.flatten(0, 1)), uplink.clients)
        shares = to_device([size / outputs.shape[1] for size in uplink.sizes], outputs.device).to(outputs.dtype)
        scaled = answer.gradients * shares.reshape(-1, *(1,) * (outputs.dim() - 1))
        return answer, torch.unflatten(uplink.flatten(scaled), 0, outputs.shape[:2])

    def learn_copies(self, uplink: Uplink, context: StepContext, rate: float, weight: float = 1.0) -> Tensor:
        """Let every client's own copy of the segment take one step on that client's batch: see the protocol.

        Returns
        -------
        Tensor
            Cut-layer gradients ``[C, b, ...]``, each of ``weight`` times the mean loss over the client's own batch.
        """
        assert self.copies is not None, "built without copies"
        self._set_rate(rate)
        result = torch.zeros_like(uplink.smashed, memory_format=torch.contiguous_format)
        cuts = (0,) * len(uplink.sizes) if uplink.cuts is None else uplink.cuts.places
        for size, cut in sorted(set(zip(uplink.sizes, cuts, strict=True))):
            places = [place for place, own in enumerate(zip(uplink.sizes, cuts, strict=True)) if own == (size, cut)]
            part = Uplink(
                uplink.smashed[places, :size],
                None if uplink.told is None else uplink.told[places, :size],
                tuple(uplink.clients[place] for place in places),
                (size,) * len(places),
            )
            result[places, :size] = self._learn(self.copies, part.clients, part.smashed, part, context, weight)
        if context.updates:
            self.copies.flush(rate)  # of clients that have no batch in this step, and had some before
        return self.defended(result, uplink, context)

    def remember(self, uplink: Uplink, most: int) -> None:
        """Keep what clients sent, the newest ``most`` samples of each, to align their heads by it."""
        assert self.heads is not None, "built without heads"
        self.heads.remember(uplink, most)

    def align_heads(self, clients: tuple[int, ...], epochs: int) -> HandOut | None:
        """Align clients' heads with the cut gradients of what was kept, in so many steps each (FSL-SAGE)."""
        assert self.heads is not None, "built without heads"
        return self.heads.align(clients, epochs, self._gradients, self.loss.own_prior)

    def merge_copies(self, merging: Merging) -> None:
        """Merge the copies of those who are merged, and give all copies the result."""
        assert self.copies is not None, "built without copies"
        buffers = {name for name, _ in self.segment.named_buffers()}
        of_copies = dataclasses.replace(merging, last=state_of(self.segment), buffers=buffers)
        merged = of_copies.merge(self.copies.weights(merging.clients))
        self.copies.load(tuple(range(self.copies.rows)), merged)
        load_state(self.segment, merged)

    def hold_for(self, clients: tuple[int, ...], weights: Weights) -> Weights:
        """Return clients' weights ``[n, ...]`` to be merged, with those that the server holds in their place."""
        return weights if self._stages is None else self._stages.hold_for(clients, weights, self.stack, self.copies)

    def take_up(self, shared: Weights) -> None:
        """Go on from merged weights, as far as the server holds these layers for some clients."""
        if self._stages is not None:
            self._stages.take_up(shared, [self.stack] if self.copies is None else [self.stack, self.copies])

    def read_metrics(self) -> TrainMetrics:
        """Return the sums since `restart_metrics`; waits for the device."""
        return self.loss.read()

    def add_metrics(self, metrics: TrainMetrics) -> None:
        """Add what clients measured that trained by themselves."""
        self.loss.add(metrics)

    def bad_step(self) -> int | None:
        """Return the first step since `restart_metrics` whose loss was not finite; waits for the device."""
        return self.loss.bad_step()

    def restart_metrics(self) -> None:
        """Begin new sums, at the start of an epoch."""
        self.loss.restart()

    def state(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint needs, by name."""
        tensors = {f"segment.{name}": tensor for name, tensor in self.stack.state().items()}
        tensors |= self.loss.state() | self._passes.state()
        if self.copies is not None:
            tensors |= {f"copies.{name}": tensor for name, tensor in self.copies.state().items()}
        if self.heads is not None:
            tensors |= {f"heads.{name}": tensor for name, tensor in self.heads.state().items()}
        return tensors

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        self.stack.restore(below("segment.", tensors))
        self.loss.restore(tensors)
        self._passes.restore(tensors)
        if self.copies is not None:
            self.copies.restore(below("copies.", tensors))
        if self.heads is not None:
            self.heads.restore(below("heads.", tensors))


def _own_mean(gradients: Tensor, uplink: Uplink) -> Tensor:
    """Scale gradients of the mean over all N samples to those of the mean over each client's own batch."""
    total = sum(uplink.sizes)
    if uplink.full:
        return gradients.mul_(total / uplink.sizes[0])
    factors = to_device([total / size for size in uplink.sizes], gradients.device)
    return gradients * factors.reshape(-1, *(1,) * (gradients.dim() - 1))


def _by_age(by_outputs: ByOutputs, uplink: Uplink, weights: Mapping[int, float]) -> ByOutputs:
    """Let clients weigh in the server's step by how old their batches are; each is told of its own mean all the same.

    The step is on Σ_i w_i Σ_j ℓ_ij / Σ_i w_i |B_i|, ``by_outputs`` being of the plain mean.
    """
    own = [weights.get(client, 1.0) for client in uplink.clients]
    scale = sum(uplink.sizes) / sum(weight * size for weight, size in zip(own, uplink.sizes, strict=True))
    each = [weight * scale for weight, size in zip(own, uplink.sizes, strict=True) for _ in range(size)]
    step = by_outputs.step
    factors = to_device(each, step.device).to(step.dtype).reshape(1, -1, *(1,) * (step.dim() - 2))
    return ByOutputs(step * factors, step if by_outputs.told is None else by_outputs.told)
