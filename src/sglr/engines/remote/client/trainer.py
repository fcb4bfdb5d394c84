"""One client's computations: its segment, its data and its optimizer. Nothing here uses the network.

A forward pass changes nothing for good: until its gradient has come it can be undone, buffers of normalisation layers
and what compression remembers included. So the state between two passes is all that a snapshot needs, and a pass that
the server no longer wants is dropped.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from sglr.compression.error_feedback import ErrorFeedbackChannel
from sglr.compression.weight_deltas import SentWeights
from sglr.core.data import Inputs, StoredInputs
from sglr.core.errors import ExtremeValues
from sglr.core.events import TrainMetrics
from sglr.core.random import key, seed_layers
from sglr.core.types import Answer
from sglr.core.weights import HEAD, Weights, below, mixed, without_head
from sglr.engines.remote.client.head import ClientHead
from sglr.engines.remote.client.held_out import HeldOut, channels_last
from sglr.engines.remote.client.job import Job
from sglr.engines.remote.client.own_batches import OwnBatches
from sglr.engines.remote.client.passes_ahead import PassesAhead
from sglr.engines.remote.client.tail import ClientTail
from sglr.engines.remote.client.waiting_passes import WaitingPass, WaitingPasses
from sglr.engines.remote.limits import chunk, most_norm
from sglr.engines.remote.segment_hash import features_of, shape_at_cut
from sglr.parties.client_loss import ClientLoss
from sglr.parties.tails import TailStep
from sglr.parties.training_loss import TrainingLoss
from sglr.stacking.stack import Stack
from sglr.storage.checkpoint import digest

MOST_NORM = 1e18
"""Norm of the weights' gradients beyond which a step would make weights that are not finite."""


class LocalTrainer:
    """A client's training.

    Parameters
    ----------
    job
        What it trains.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.stack = self._new_stack()
        self.link = ErrorFeedbackChannel(job.codec)
        self.sent_weights = SentWeights(job.delta_code)
        self._ahead = PassesAhead(job.ahead, self._new_stack, job.delay_compensation)
        self._inputs: Inputs = job.train.inputs.to(job.device)
        self._targets = job.train.targets.to(job.device)
        self._waiting = WaitingPasses(self.stack, self.link)
        self.held_out = HeldOut(job, self.stack)
        self._round = -1
        self.batches = OwnBatches(job)
        self.features = features_of(job.segment)
        own = ClientLoss(job.task, job.label_prior == "own")
        of_tail = job.client, self._targets, self._classes, own, job.defences
        self._tail = ClientTail(*of_tail) if self.features else None
        self._head = ClientHead(job, self._targets, self._classes) if self.stack.head else None

    def _new_stack(self) -> Stack:
        job = self.job
        segment = copy.deepcopy(job.segment)
        return Stack(lambda _: segment, 1, job.optimizer, clip_norm=job.clip_norm, stacked=False, device=job.device)

    @property
    def _classes(self) -> int:
        """K, or 0 where samples have no single class."""
        return self.job.targets.classes if self.job.targets.are_classes else 0

    @property
    def samples(self) -> int:
        """|D_i|."""
        return len(self.job.train)

    @cached_property
    def cut(self) -> tuple[int, ...]:
        """Shape of one sample's smashed data."""
        return shape_at_cut(self.job.segment, tuple(self._inputs.shape[1:]), self._inputs.dtype)

    @property
    def chunk(self) -> int:
        """How many held-out samples are scored in one message: as many for all clients of the run."""
        return chunk(self.job.largest_cut or self.cut, self.job.targets)

    def forward(self, epoch: int, step: int) -> dict[str, Tensor]:
        """Run a step's batch forward; return the parts of its smashed data, and ``labels`` int64 ``[b]``.

        Raises
        ------
        ExtremeValues
            If they are not finite or too large: the pass is undone.
        ValueError
            If labels must stay here.
        """
        self.held_out.refuse_labels()
        smashed, labels = self._run(epoch, step)
        if not _norm([smashed]) <= most_norm(smashed.numel()):
            self.undo_last_pass()
            raise ExtremeValues("the smashed data are not finite or too large")
        sent = self.job.defences.send(smashed[None], (self.job.client,), (len(labels),), epoch, step)[0]
        parts = self.link.send(sent)
        return parts if self.features is not None else {**parts, "labels": labels}

    def _run(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Run a step's batch forward; return its smashed data and labels."""
        self._begin_round(epoch)
        places = self.batches.places(epoch, step)
        rows = torch.from_numpy(self.batches.rows(epoch, places)).to(self.job.device)
        if isinstance(self._inputs, StoredInputs):
            self._inputs.read_ahead(self.batches.rows(epoch, self.batches.following(epoch, step)))
        inputs, targets = self._inputs[rows], self._targets[rows]
        if self.job.augmentation.parts:
            whose = [self.job.client] * len(rows)
            inputs, targets = self.job.augmentation.change(inputs, targets, whose, epoch, places)
        buffers = self._waiting.buffers()
        stack = self._ahead.stack_for(epoch, step, self.stack)
        seed_layers(key(self.job.seed, "layers", self.job.client, epoch, step))
        forward = stack.forward((0,), channels_last(inputs)[None])
        if stack is not self.stack:
            self.stack.put_buffers((0,), stack.buffers)
        memory = self.link.state()
        self._waiting.add(WaitingPass(epoch, step, stack, forward, buffers, memory, inputs, targets))
        return forward.outputs[0].cpu(), targets.cpu()

    def _begin_round(self, epoch: int) -> None:
        # Not undone with the pass: a round that is begun again begins with a fresh optimizer, too.
        number = -1 if self.job.round_of is None else self.job.round_of(epoch)
        if number != self._round:
            self.stack.forget_steps((0,))
            self._round = number

    def passes(self) -> list[tuple[int, int]]:
        """Return epoch and step of the passes whose gradients have not come, the oldest first."""
        return self._waiting.places()

    def shape_of(self, epoch: int, step: int) -> tuple[int, ...] | None:
        """Return the shape ``[b, ...]`` of the smashed data whose gradient is awaited next; None if it is not this."""
        if (epoch, step) not in self._waiting.places()[:1]:
            return None
        return tuple(self._waiting.oldest.forward.outputs.shape[1:])

    def backward(self, gradient: Tensor, rate: float, *, kept: bool = False) -> None:
        """Back-propagate a cut-layer gradient ``[b, ...]`` through the oldest pass, and step.

        What is ``kept`` is for the update of a later step, but not of the last batch.

        Raises
        ------
        ExtremeValues
            If the weights would explode: they stay as they are, and the pass is over.
        """
        waiting = self._waiting.oldest
        gradients = self._back(gradient) if self._head is None else self._back_beside(gradient)
        kept = kept and self.batches.has(waiting.epoch, waiting.step + 1)
        self._update(waiting, gradients, rate, len(gradient), kept=kept)

    @property
    def learns_alone(self) -> bool:
        """Whether this client learns by its head's loss alone, and no gradients come."""
        return self._head is not None and self._head.alone

    def _back_beside(self, gradient: Tensor) -> Sequence[Tensor]:
        """Back-propagate a cut-layer gradient and the head's or decoder's loss; return the gradients of both parts."""
        behind, found = self._behind()
        return behind.added(0, list(self._back(gradient, found.gradients)))

    def _behind(self) -> tuple[TailStep, Answer]:
        assert self._head is not None, "this client has a head"
        oldest = self._waiting.oldest
        return self._head.answer(oldest.stack, oldest.forward, oldest.inputs, oldest.targets)

    def backward_alone(self, rate: float) -> TrainMetrics:
        """Back-propagate the loss of the own head through the oldest pass, and step; raises what `backward` raises."""
        waiting, (behind, found) = self._waiting.oldest, self._behind()
        gradients = behind.added(0, list(self._back(found.gradients[0])))
        self._update(waiting, gradients, rate, len(waiting.targets), kept=False)
        return TrainMetrics(float(found.loss), float(found.correct), len(waiting.targets))

    def step_alone(self, epoch: int, step: int, rate: float) -> TrainMetrics:
        """Take a step of which nothing is sent, by the loss of the own head."""
        self._run(epoch, step)
        return self.backward_alone(rate)

    def _back(self, gradient: Tensor, beside: Tensor | None = None) -> Sequence[Tensor]:
        """Back-propagate a cut-layer gradient ``[b, ...]`` through the oldest pass; return those of the weights.

        ``beside`` is that of another loss, ``[1, b, ...]``.
        """
        waiting, defences = self._waiting.take_oldest(), self.job.defences
        arrived = gradient.to(self.job.device)[None]
        if defences.inspects_gradient:
            defences.inspect_gradient(arrived, waiting.targets[None], (self.job.client,), (arrived.shape[1],))
        if defences.adds_gradient:
            arrived = arrived + defences.extra_gradient(waiting.inputs[None], waiting.forward.outputs)
        if beside is not None:
            arrived = arrived + beside
        found = waiting.stack.backward(waiting.forward, arrived).weights
        return found if self._tail is None else self._tail.added(found)

    def _update(
        self, waiting: WaitingPass, gradients: Sequence[Tensor], rate: float, samples: int, *, kept: bool
    ) -> None:
        """Step by the gradients of a pass, or keep them for a later step."""
        gradients = self._ahead.compensated(waiting.stack, gradients, self.stack)
        self._ahead.over(waiting.epoch, waiting.step)
        if not _norm(gradients) < MOST_NORM:
            raise ExtremeValues("the gradient would make this client's weights explode")
        self.stack.update((0,), gradients, rate, samples, keep=(0,) if kept else ())

    def answer(self, features: Tensor) -> tuple[Tensor, float, float]:
        """Find the own loss at the server's features ``[b, ...]`` of the oldest pass, where labels stay here.

        Returns
        -------
        tuple
            Gradients by the features ``[b, ...]``, the sum of losses, and samples that were classified right.
        """
        assert self._tail is not None, "this client has a tail"
        waiting = self._waiting.oldest
        where = waiting.epoch, waiting.step
        # Other clients of this process may have drawn since the pass.
        seed_layers(key(self.job.seed, "layers of a tail", self.job.client, *where))
        return self._tail.answer(waiting.stack, waiting.forward, waiting.targets, where, features)

    @property
    def answered(self) -> Tensor | None:
        """Features ``[b, ...]`` that were answered and whose gradient has not come."""
        return None if self._tail is None else self._tail.features

    def undo_last_pass(self) -> None:
        """Undo the pass that was run last; those before it still wait for their gradients."""
        self._waiting.undo_last()

    def drop_passes(self) -> None:
        """Undo the passes whose gradients have not come; run again, they give the same."""
        self._waiting.undo_all()
        if self._tail is not None:
            self._tail.forget()

    @property
    def steps(self) -> int:
        """Steps of a pass over the own data."""
        return self.batches.own.steps

    def train_locally(self, epoch: int, rates: Sequence[float]) -> TrainMetrics:
        """Pass over the own data once, with the loss at the own output: for clients that hold the whole model.

        ``rates`` are those of the steps, or one of all. If the loss is not finite, the epoch is undone: a client
        that is absent keeps its weights.
        """
        loss = self.loss
        before = {name: tensor.clone() for name, tensor in self.state().items()}
        loss.restart()
        for step in range(steps := self.steps):
            self._run(epoch, step)
            labels = self._waiting.oldest.targets[None]
            by_outputs = loss.gradient(
                self._waiting.oldest.forward.outputs, labels, (0,), (labels.shape[1],), step
            ).step
            # A loss that is not finite is reported with the metrics.
            gradients = self._back(by_outputs[0])
            kept = (step + 1) % self.job.accumulate > 0 and step + 1 < steps
            rate = rates[step] if len(rates) > 1 else rates[0]
            self.stack.update((0,), gradients, rate, labels.shape[1], keep=(0,) if kept else ())
        found = loss.read()
        if found.bad_step is not None:
            self.restore(before)
        return found

    @cached_property
    def loss(self) -> TrainingLoss:
        """The loss behind the last layer, for clients that hold the whole model."""
        job = self.job
        return TrainingLoss(job.task, clients=1, classes=self._classes, label_prior=job.label_prior, device=job.device)

    def weights(self) -> dict[str, Tensor]:
        """Return copies of the weights and buffers ``[...]``."""
        return {name: tensor[0].cpu() for name, tensor in self.stack.weights((0,)).items()}

    def shared_weights(self) -> dict[str, Tensor]:
        """Return copies of those weights and buffers ``[...]`` that clients share, where they do."""
        return {**(without_head(self.weights()) if self.job.keeps_head else self.weights())}

    def given_head(self) -> dict[str, Tensor]:
        """Return copies of the weights ``[...]`` of the head that the server sends; empty where it sends none."""
        if self._head is None or not self._head.given:
            return {}
        return {name: tensor for name, tensor in self.weights().items() if name.startswith(HEAD)}

    def take_head(self, head: Weights) -> None:
        """Go on with a head that the server sends."""
        self._ahead.forget()
        self.stack.load((0,), head)

    def take_up(self, shared: Weights) -> None:
        """Go on from shared weights and buffers ``[...]``, mixed with the own where a share of these is kept."""
        self.sent_weights.took_up(shared)
        if self.job.own_share:
            shared = mixed(self.stack.weights((0,)), shared, self.job.own_share)
        self._ahead.forget()
        self.stack.load((0,), shared)

    def digest(self) -> str:
        """Return the SHA-256 of the weights and buffers."""
        return digest(self.weights())

    def state(self) -> dict[str, Tensor]:
        """Return everything that a snapshot needs."""
        tensors = {f"segment.{name}": tensor for name, tensor in self.stack.state().items()}
        tensors |= {f"link.{name}": tensor for name, tensor in self.link.state().items()}
        tensors |= {f"deltas.{name}": tensor for name, tensor in self.sent_weights.state().items()}
        tensors |= {f"ahead.{name}": tensor for name, tensor in self._ahead.state().items()}
        defences = self.job.defences.state((self.job.client,))
        tensors |= {f"defences.{name}": tensor for name, tensor in defences.items()}
        return tensors | {"label_counts": self.loss.label_counts, "round": torch.tensor(self._round)}

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        self._waiting.clear()
        self.stack.restore(below("segment.", tensors))
        self.link.restore(below("link.", tensors))
        self.sent_weights.restore(below("deltas.", tensors))
        self._ahead.restore(below("ahead.", tensors))
        self.job.defences.restore(below("defences.", tensors))
        self.loss.label_counts.copy_(tensors["label_counts"])
        self._round = int(tensors["round"])


def _norm(tensors: Sequence[Tensor]) -> float:
    """Return the joint norm of several tensors; 0 if there are none."""
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))) if tensors else 0.0
