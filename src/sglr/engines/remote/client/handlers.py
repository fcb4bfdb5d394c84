"""The handlers of the server's requests, one for each kind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor

from sglr.core.codec import Plain
from sglr.core.errors import DamagedCheckpoint, ExtremeValues
from sglr.core.events import TrainMetrics
from sglr.core.weights import Weights
from sglr.engines.remote.client.own_batches import ToldBatch
from sglr.engines.remote.client.snapshots import Snapshots
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.limits import most_norm
from sglr.engines.remote.told import HeldOutTally
from sglr.engines.remote.wire.frames import Frame, Malformed, encode
from sglr.engines.remote.wire.layouts import Layout, check_buffers, check_norm, read
from sglr.engines.remote.wire.messages_pb2 import Envelope
from sglr.storage.checkpoint import write_checkpoint
from sglr.storage.retry import write_patiently

log = logging.getLogger(__name__)

MOST_RATE = 1e6
"""Learning rates must be below."""

SEGMENT = "segment.safetensors"
"""The file in a client's folder that holds the weights of its trained segment."""

Answer = tuple[Envelope, dict[str, Tensor]]


class LeftUndone(Exception):  # noqa: N818 - says what happened
    """The client leaves before it could carry out a request: the server repeats it when the client is back."""


class RequestHandlers:
    """Carries out requests.

    Parameters
    ----------
    trainer
        Computes.
    snapshots
        Where its state is kept.
    say
        Called with messages for the user.
    leaving
        Called while a full disk is waited for; True gives up.
    """

    def __init__(
        self, trainer: LocalTrainer, snapshots: Snapshots, say: Callable[[str], None], leaving: Callable[[], bool]
    ) -> None:
        self._trainer, self._snapshots, self._say, self._leaving = trainer, snapshots, say, leaving

    def carry_out(self, frame: Frame) -> bytes | None:
        """Carry out a request; return the answer, if it has one. An invalid request is answered by a refusal.

        Raises
        ------
        LeftUndone
            If the client leaves before a snapshot could be written.
        """
        started = time.perf_counter()
        try:
            answer = self._answer(frame)
        except (ExtremeValues, Malformed, DamagedCheckpoint, ValueError) as error:
            extreme = isinstance(error, ExtremeValues)
            problem = "this client can't take this step" if extreme else "invalid request from the server"
            self._say(f"{problem} ({frame.kind}): {error}")
            refusal = Envelope()
            refusal.refusal.extreme = extreme
            # The error would tell the server the file's name.
            torn = isinstance(error, DamagedCheckpoint)
            refusal.refusal.reason = "there is no such snapshot, or it is damaged" if torn else str(error)[:500]
            answer = refusal, {}
        if answer is None:
            return None
        envelope, tensors = answer
        envelope.seq, envelope.seconds = frame.envelope.seq, time.perf_counter() - started
        return encode(envelope, tensors)

    def _answer(self, frame: Frame) -> Answer | None:
        if frame.kind not in ("forward", "gradient", "features"):
            # Passes that ran ahead are no longer wanted.
            self._trainer.drop_passes()
        answer: Answer | None = getattr(self, f"_{frame.kind}")(frame)
        return answer

    def _forward(self, frame: Frame) -> Answer:
        where = frame.envelope.where
        passes = self._trainer.passes()
        if len(passes) > self._trainer.job.ahead or (passes and passes[-1] != (where.epoch, where.step - 1)):
            # It missed a deadline: no gradient will come for those.
            self._trainer.drop_passes()
        if told := frame.envelope.forward.samples:
            self._trainer.batches.tell(
                ToldBatch(where.attempt, where.epoch, where.step, frame.envelope.forward.first, told)
            )
        return self._smashed(where.epoch, where.step)

    def _smashed(self, epoch: int, step: int) -> Answer:
        if self._trainer.job.whole_model:
            raise Malformed("this client holds the whole model and sends no smashed data")
        if not self._trainer.batches.has(epoch, step):
            raise Malformed(f"this client has no samples in step {step}")
        envelope = Envelope()
        envelope.smashed.SetInParent()
        return envelope, self._trainer.forward(epoch, step)

    def _gradient(self, frame: Frame) -> Answer | None:
        where, told = frame.envelope.where, frame.envelope.gradient
        shape = self._trainer.shape_of(where.epoch, where.step)
        if shape is None:
            raise Malformed("a gradient came for a step that this client did not take")
        _check_rate(told.rate)
        if self._trainer.learns_alone:
            if frame.payloads:
                raise Malformed("gradients came for a client that trains by its own head")
            self._trainer.backward_alone(told.rate)
            return None
        codec = self._trainer.job.codec.of_gradients
        most = most_norm(torch.Size(shape).numel())
        gradient = codec.decode(
            read(frame, codec.layout(shape), most_norm=most if isinstance(codec, Plain) else None), shape
        )
        if not isinstance(codec, Plain):
            check_norm("the gradient", gradient, most)
        self._trainer.backward(gradient, told.rate, kept=told.kept)
        if not told.then_forward:
            return None
        return self._smashed(where.epoch, where.step + 1 + self._trainer.job.ahead)

    def _features(self, frame: Frame) -> Answer:
        where, told, trainer = frame.envelope.where, frame.envelope.features, self._trainer
        if trainer.features is None:
            raise Malformed("this client has no tail for features")
        if told.part:
            self._check_held(told.part, told.first, told.count)
            count = min(told.count, len(trainer.job.held[told.part]) - told.first)
            values = self._read_features(frame, count)
            return _tallied(trainer.held_out.score_features(told.part, told.first, values, shared=told.shared))
        shape = trainer.shape_of(where.epoch, where.step)
        if shape is None:
            raise Malformed("features came for a step that this client did not take")
        gradients, loss, correct = trainer.answer(self._read_features(frame, shape[0]))
        envelope = Envelope()
        envelope.feature_gradients.loss, envelope.feature_gradients.correct = loss, correct
        return envelope, {"values": gradients}

    def _read_features(self, frame: Frame, count: int) -> Tensor:
        shape = (count, *(self._trainer.features or ()))
        layout: Layout = {"values": (torch.float32, shape)}
        return read(frame, layout, most_norm=most_norm(torch.Size(shape).numel()))["values"]

    def _check_held(self, part: str, first: int, count: int) -> None:
        most, there = self._trainer.chunk, len(self._trainer.job.held.get(part, ()))
        if first >= there or not 0 < count <= most:
            raise Malformed("no such held-out samples, or too many at once")
        # The sums of a single sample would tell its label.
        if self._keeps_labels and (first % most or count < min(most, there - first)):
            raise Malformed(f"labels stay here: held-out samples are scored {most} at a time, from the first one on")

    @property
    def _keeps_labels(self) -> bool:
        return self._trainer.job.keep_labels or self._trainer.features is not None

    def _collect(self, frame: Frame) -> Answer:
        envelope = Envelope()
        envelope.weights.SetInParent()
        return envelope, self._sent_weights(frame.envelope.where.steps)

    def _sent_weights(self, steps: int) -> dict[str, Tensor]:
        """Return what is sent of the weights after so many steps."""
        return self._trainer.sent_weights.parts(self._trainer.shared_weights(), steps)

    def _publish(self, frame: Frame) -> None:
        if not frame.envelope.publish.head:
            self._trainer.take_up(self._weights_of(frame, self._trainer.shared_weights()))
            return
        head = self._trainer.given_head()
        if not head:
            raise Malformed("a head came for a client that has none, or trains its own")
        self._trainer.take_head(self._weights_of(frame, head))

    def _weights_of(self, frame: Frame, own: Weights) -> dict[str, Tensor]:
        layout: Layout = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in own.items()}
        weights = read(frame, layout, most_norm=most_norm(sum(tensor.numel() for tensor in own.values())))
        check_buffers(weights)
        return weights

    def _snapshot(self, frame: Frame) -> Answer:
        where, told = frame.envelope.where, frame.envelope.snapshot
        tensors = self._trainer.state()

        def write() -> str:
            return self._snapshots.write(where.steps, tensors, best=told.best)

        try:
            return _done(write_patiently(write, self._leaving, self._say))
        except OSError as error:
            raise LeftUndone from error

    def _restore(self, frame: Frame) -> Answer:
        told = frame.envelope.restore
        self._trainer.restore(self._snapshots.read(told.steps, told.digest))
        return _done("")

    def _evaluate(self, frame: Frame) -> Answer:
        told = frame.envelope.evaluate
        self._check_held(told.part, told.first, told.count)
        shared = self._weights_of(frame, self._trainer.shared_weights()) if frame.payloads else None
        again = told.shared and shared is None
        which = told.part, told.first, told.count, shared
        if self._trainer.job.whole_model and self._trainer.job.keep_labels:
            return _tallied(self._trainer.held_out.score_alone(*which, again=again))
        envelope = Envelope()
        found = self._trainer.held_out.score(*which, again=again)
        envelope.scores.samples = min(told.count, len(self._trainer.job.held[told.part]) - told.first)
        return envelope, found

    def _alone(self, frame: Frame) -> Answer:
        where, told = frame.envelope.where, frame.envelope.alone
        rates = tuple(told.rates)
        for rate in rates:
            _check_rate(rate)
        if self._trainer.learns_alone:
            if len(rates) != 1 or not self._trainer.batches.has(where.epoch, where.step):
                raise Malformed("a step of a client by itself needs samples and one learning rate")
            return _tallied(self._trainer.step_alone(where.epoch, where.step, rates[0]))
        if not self._trainer.job.whole_model:
            raise Malformed("this client holds a part of the model and can't train alone")
        steps = self._trainer.steps
        if len(rates) != 1 and len(rates) < steps:
            raise Malformed(f"{len(rates)} learning rates came for {steps} steps")
        tally = self._trainer.train_locally(where.epoch, rates)
        envelope, _ = _tallied(tally)
        # The server counts the pass as a step once it is over, and may ask for the weights after it again.
        sends = told.collect and tally.bad_step is None
        return envelope, self._sent_weights(where.steps + 1) if sends else {}

    def _digest(self, frame: Frame) -> Answer:
        del frame
        return _done(self._trainer.digest())

    def _finish(self, frame: Frame) -> Answer:
        del frame
        weights, path = self._trainer.weights(), self._snapshots.folder.parent / SEGMENT
        told = {"client": self._trainer.job.client, "run": self._snapshots.run}
        try:
            write_patiently(lambda: write_checkpoint(path, weights, told), self._leaving, self._say)
        except OSError as error:
            raise LeftUndone from error
        return _done(self._trainer.digest())


def _check_rate(rate: float) -> None:
    # NaN compares as False.
    if not 0 <= rate < MOST_RATE:
        raise Malformed(f"invalid learning rate: {rate}")


def _tallied(tally: TrainMetrics) -> Answer:
    envelope = Envelope()
    answer = envelope.tally
    answer.loss, answer.correct, answer.samples = tally.loss, tally.correct, tally.samples
    answer.bad_step = -1 if tally.bad_step is None else tally.bad_step
    if isinstance(tally, HeldOutTally):
        answer.scores.update(tally.scores)
    return envelope, {}


def _done(digest: str) -> Answer:
    envelope = Envelope()
    envelope.done.digest = digest
    return envelope, {}
