"""Checks of clients' messages, which turn them into tensors: a client whose message is malformed is quarantined.

One client's NaN would reach all clients through an average. So every tensor must be finite, of the agreed type and
shape, of a bounded norm, and every target one that the task can learn. A client whose values are not finite or too
large, in a well-formed message, is absent (`sglr.engines.remote.server.extremes`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from sglr.compression.weight_deltas import DeltaCode
from sglr.core.codec import Plain
from sglr.core.cuts.cut_rows import to_rows
from sglr.core.errors import ExtremeValues
from sglr.core.events import TrainMetrics
from sglr.core.types import Uplink
from sglr.core.weights import Weights
from sglr.engines.remote.limits import most_norm
from sglr.engines.remote.server.connections import ConnectionServer
from sglr.engines.remote.server.evaluation import Sent
from sglr.engines.remote.server.extremes import Extremes
from sglr.engines.remote.server.forms import Forms
from sglr.engines.remote.server.targets import SentTargets
from sglr.engines.remote.told import HeldOutTally
from sglr.engines.remote.wire import messages_pb2 as wire
from sglr.engines.remote.wire.frames import Frame, Malformed
from sglr.engines.remote.wire.layouts import (
    Layout,
    check_buffers,
    check_layout,
    check_norm,
    read,
    read_into,
)

T = TypeVar("T")

_DIGEST = re.compile("[0-9a-f]{64}")

MOST_LOSS = torch.finfo(torch.float32).max
"""Largest loss of a sample: sums of clients' losses must stay finite, or one client could end the training."""


class MessageValidator:
    """Checks and reads clients' messages.

    Parameters
    ----------
    connections
        The clients; those that send malformed messages are quarantined there.
    extremes
        Told which clients' values are extreme.
    forms
        What each client sends and holds.
    targets
        Those of the run.
    device
        Where tensors go.
    features
        Shape of one sample's features where labels stay with the clients; None where they come with smashed data.
    delta_code
        How clients' weights are written; None where they are sent as they are.
    """

    def __init__(
        self,
        connections: ConnectionServer,
        extremes: Extremes,
        forms: Forms,
        *,
        targets: SentTargets,
        device: torch.device,
        features: tuple[int, ...] | None = None,
        delta_code: DeltaCode | None = None,
    ) -> None:
        self._delta_code = delta_code
        self._features, self._extremes = features, extremes
        self._connections, self._forms, self._device = connections, forms, device
        self._targets = targets

    def _each(self, frames: Mapping[int, Frame], read: Callable[[int, Frame], T], kind: str = "tensor") -> dict[int, T]:
        """Read clients' messages: a malformed one quarantines its client, extreme values make it absent.

        Raises
        ------
        ExtremeValues
            If so many clients send extreme values that the training has diverged.
        """
        found, extreme = dict[int, T](), dict[int, str]()
        for client, frame in frames.items():
            try:
                _check_refusal(frame)
                found[client] = read(client, frame)
            except ExtremeValues as error:
                extreme[client] = str(error)
            except (Malformed, ValueError) as error:
                self._connections.quarantine(client, str(error), kind)
        self._extremes.judge(found, extreme)
        return found

    def uplink(self, frames: Mapping[int, Frame], sizes: Mapping[int, int]) -> Uplink | None:
        """Lay clients' smashed data of a step side by side; None if no client's can be used.

        Parameters
        ----------
        frames
            Their messages.
        sizes
            How many samples each has in this step.
        """
        width = max((sizes[client] for client in frames), default=0)
        make = torch.empty if all(sizes[client] == width for client in frames) else torch.zeros
        cuts = self._forms.cuts
        smashed = make(len(frames), width, *(self._forms.cut if cuts is None else (cuts.width,)))
        labels = self._targets.room(len(frames), width)
        accepted: list[int] = []

        def read(client: int, frame: Frame) -> None:
            row, size = len(accepted), sizes[client]
            try:
                own = smashed[row, :size] if cuts is None else torch.zeros(size, *self._forms.shape(client))
                self._fill(client, frame, own, labels[row, :size])
                if cuts is not None:
                    smashed[row, :size] = to_rows(own, cuts.places[client], cuts.width, leading=1)
            except (ExtremeValues, Malformed, ValueError):
                smashed[row], labels[row] = 0, 0
                raise
            accepted.append(client)

        self._each(frames, read)
        if not accepted:
            return None
        counts = tuple(sizes[client] for client in accepted)
        rows, width = len(accepted), max(counts)
        told = labels[:rows, :width].to(self._device) if self._features is None else None
        of_rows = None if cuts is None else cuts.rows(accepted)
        return Uplink(smashed[:rows, :width].to(self._device), told, tuple(accepted), counts, of_rows)

    def samples(self, frames: Mapping[int, Frame], sizes: Mapping[int, int]) -> dict[int, Sent]:
        """Return clients' answers for held-out samples; sums only where they hold the whole model."""
        whole = self._forms.cut == self._targets.output_shape
        alone = {client: frame for client, frame in frames.items() if whole and frame.kind == "tally"}

        def read(client: int, frame: Frame) -> Sent:
            smashed, labels = torch.zeros(sizes[client], *self._forms.shape(client)), self._targets.room(sizes[client])
            self._fill(client, frame, smashed, labels)
            return smashed.to(self._device), labels.to(self._device)

        others = {client: frame for client, frame in frames.items() if client not in alone}
        return {**self.scores(alone, sizes), **self._each(others, read)}

    def answers(self, frames: Mapping[int, Frame], sizes: Mapping[int, int]) -> dict[int, tuple[Tensor, float, float]]:
        """Return gradients by features ``[b, ...]``, and sums of losses and hits, by client (U-shape)."""
        return self._each(frames, lambda client, frame: self._answer(frame, sizes[client]))

    def scores(self, frames: Mapping[int, Frame], sizes: Mapping[int, int]) -> dict[int, HeldOutTally]:
        """Return the metrics of ``sizes`` held-out samples that clients scored themselves."""

        def read(client: int, frame: Frame) -> HeldOutTally:
            told = frame.envelope.tally
            if told.bad_step >= 0:
                raise Malformed("impossible metrics of held-out samples")
            found = self._tally(told, sizes[client], "held-out samples")
            return HeldOutTally(found.loss, found.correct, found.samples, scores=self._targets.scores(told.scores))

        return self._each(frames, read, "values")

    def _answer(self, frame: Frame, size: int) -> tuple[Tensor, float, float]:
        shape = (size, *(self._features or ()))
        told = frame.envelope.feature_gradients
        self._targets.check_hits(told.correct, size)
        most = most_norm(torch.Size(shape).numel())
        gradients = read(frame, {"values": (torch.float32, shape)}, most_norm=most)["values"]
        _check_loss(told.loss, size)
        return gradients, told.loss, told.correct

    def weights(
        self,
        frames: Mapping[int, Frame],
        check: Callable[[int, Weights], None] = lambda *_: None,
        shared: Weights | None = None,
    ) -> dict[int, dict[str, Tensor]]:
        """Return the weights and buffers that clients sent and that ``check`` lets pass: it raises ExtremeValues.

        Where clients send differences, these are from ``shared``.
        """

        def read_weights(client: int, frame: Frame) -> dict[str, Tensor]:
            own = self._decoded(self._forms.held(self._forms.segment, client), frame, shared or {})
            check_buffers(own)
            check(client, own)
            return {name: tensor.to(self._device) for name, tensor in own.items()}

        return self._each(frames, read_weights)

    def _decoded(self, held: Weights, frame: Frame, shared: Weights) -> dict[str, Tensor]:
        layout: Layout = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in held.items()}
        most = most_norm(sum(tensor.numel() for tensor in held.values()))
        if self._delta_code is None:
            return read(frame, layout, most_norm=most)
        own = self._delta_code.decode(read(frame, self._delta_code.layout(layout)), layout, shared)
        for name, tensor in own.items():
            if tensor.is_floating_point():
                check_norm(name, tensor, most)
        return own

    def digests(self, frames: Mapping[int, Frame]) -> dict[int, str]:
        """Return clients' SHA-256s, as 64 hexadecimal digits."""
        told = {client: frame.envelope.done.digest for client, frame in frames.items()}
        wrong = [client for client, text in told.items() if not _DIGEST.fullmatch(text)]
        for client in wrong:
            self._connections.quarantine(client, "malformed SHA-256", "values")
            del told[client]
        return told

    def steps_alone(self, frames: Mapping[int, Frame], sizes: Mapping[int, int]) -> int:
        """Return the samples of a step that clients took by themselves, of those whose numbers are sound.

        Raises
        ------
        ExtremeValues
            If so many clients have extreme values that the training has diverged.
        """

        def read(client: int, frame: Frame) -> int:
            return self._tally(frame.envelope.tally, sizes[client], "a step").samples

        return sum(self._each(frames, read, "values").values())

    def tally(self, frames: Mapping[int, Frame], sizes: Mapping[int, int]) -> TrainMetrics:
        """Add up the metrics of local training, over ``sizes`` samples each.

        The training counts as diverged if half of the clients report a loss that is not finite.
        """
        bad: list[int] = []

        def read(client: int, frame: Frame) -> TrainMetrics:
            told = frame.envelope.tally
            if told.bad_step >= 0:
                bad.append(told.bad_step)
            return self._tally(told, sizes[client], "a pass")

        try:
            tallies = self._each(frames, read, "values").values()
        except ExtremeValues:
            return TrainMetrics(math.nan, 0, 0, min(bad, default=0))
        return TrainMetrics(
            sum(one.loss for one in tallies), sum(one.correct for one in tallies), sum(one.samples for one in tallies)
        )

    def _fill(self, client: int, frame: Frame, smashed: Tensor, labels: Tensor) -> None:
        shape, codec = tuple(smashed.shape), self._forms.codec_of(client)
        layout: Layout = {**codec.layout(shape)}
        if self._features is None:
            layout = {**layout, "labels": (labels.dtype, tuple(labels.shape))}
        check_layout(frame, layout)
        if self._features is None:
            read_into(frame, "labels", labels, finite=False)
            self._targets.check(labels)
        most = most_norm(smashed.numel())
        if isinstance(codec, Plain):
            read_into(frame, "values", smashed, most_norm=most)
        else:
            parts = read(frame, layout)
            parts.pop("labels", None)
            smashed.copy_(codec.decode(parts, shape))
            check_norm("smashed data", codec.learned(smashed), most)

    def _tally(self, told: wire.Tally, samples: int, what: str) -> TrainMetrics:
        problem = f"impossible metrics of {what}"
        if told.samples != samples:
            raise Malformed(problem)
        self._targets.check_hits(told.correct, samples, problem)
        if told.bad_step >= 0:
            raise ExtremeValues("its loss is not finite")
        _check_loss(told.loss, samples)
        return TrainMetrics(told.loss, told.correct, told.samples)


def _check_refusal(frame: Frame) -> None:
    if frame.kind == "refusal":
        told = frame.envelope.refusal
        raise ExtremeValues(told.reason) if told.extreme else Malformed(f"the client refused: {told.reason}")


def _check_loss(loss: float, samples: int) -> None:
    # NaN compares as False.
    if not abs(loss) <= MOST_LOSS * samples:
        raise ExtremeValues("its loss is not finite or too large")
