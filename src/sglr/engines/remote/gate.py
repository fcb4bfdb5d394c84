"""What comes from clients, turned into tensors: exactly what was agreed, or the client is quarantined.

One client's NaN would reach everyone through an average, so nothing gets past here that is not finite, of the agreed
type and shape, of a bounded norm, and labelled with classes that exist.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from sglr.core.codecs import Codec
from sglr.core.types import Tally, Uplink, Weights
from sglr.engines.remote.agreement import most_norm
from sglr.engines.remote.scoring import Sent
from sglr.engines.remote.server import House
from sglr.engines.remote.wire import messages_pb2 as wire
from sglr.engines.remote.wire.frames import Frame, Malformed
from sglr.engines.remote.wire.layouts import Layout, check_labels, check_layout, read, read_into

_DIGEST = re.compile("[0-9a-f]{64}")

MOST_LOSS = torch.finfo(torch.float32).max
"""The greatest loss of a sample: sums of what clients tell stay finite, else one client could end the training."""


class Gate:
    """Reads clients' messages.

    Parameters
    ----------
    house
        Whose clients; those that can't be believed are quarantined there.
    codec
        How smashed data are written.
    cut
        Shape of one sample's smashed data.
    classes
        K.
    segment
        Names, shapes and types of a client's weights.
    device
        Where tensors go.
    features
        Shape of one sample's features where labels stay with the clients; None where they come with smashed data.
    """

    def __init__(
        self,
        house: House,
        codec: Codec,
        *,
        cut: tuple[int, ...],
        classes: int,
        segment: Weights,
        device: torch.device,
        features: tuple[int, ...] | None = None,
    ) -> None:
        self._features = features
        self._house, self._codec, self._cut, self._classes, self._device = house, codec, cut, classes, device
        self._weights: Layout = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in segment.items()}
        self._most_norm = most_norm(sum(tensor.numel() for tensor in segment.values()))

    def uplink(self, frames: Mapping[int, Frame], sizes: Mapping[int, int]) -> Uplink | None:
        """Lay what clients sent of a step side by side; None if nobody can be believed.

        Parameters
        ----------
        frames
            Their messages.
        sizes
            How many samples each has in this step.
        """
        width = max((sizes[client] for client in frames), default=0)
        make = torch.empty if all(sizes[client] == width for client in frames) else torch.zeros
        smashed = make(len(frames), width, *self._cut)
        labels = torch.zeros(len(frames), width, dtype=torch.int64)
        believed: list[int] = []
        for client, frame in frames.items():
            row, size = len(believed), sizes[client]
            if self._read(client, frame, smashed[row, :size], labels[row, :size]):
                believed.append(client)
            else:
                smashed[row], labels[row] = 0, 0
        if not believed:
            return None
        counts = tuple(sizes[client] for client in believed)
        rows, width = len(believed), max(counts)
        told = labels[:rows, :width].to(self._device) if self._features is None else None
        return Uplink(smashed[:rows, :width].to(self._device), told, tuple(believed), counts)

    def samples(self, frames: Mapping[int, Frame], sizes: Mapping[int, int]) -> dict[int, Sent]:
        """Return what clients tell of held-out samples; sums alone only where they hold the whole model."""
        whole = self._cut == (self._classes,)
        alone = {client: frame for client, frame in frames.items() if whole and frame.kind == "tally"}
        found: dict[int, Sent] = {**self.scores(alone, sizes)}
        for client in frames.keys() - alone.keys():
            frame = frames[client]
            smashed, labels = torch.zeros(sizes[client], *self._cut), torch.zeros(sizes[client], dtype=torch.int64)
            if self._read(client, frame, smashed, labels):
                found[client] = (smashed.to(self._device), labels.to(self._device))
        return found

    def answers(self, frames: Mapping[int, Frame], sizes: Mapping[int, int]) -> dict[int, tuple[Tensor, float, int]]:
        """Return gradients by features ``[b, ...]``, and sums of losses and hits, by client (U-shape)."""
        found = {}
        for client, frame in frames.items():
            try:
                found[client] = self._answer(frame, sizes[client])
            except Malformed as error:
                self._house.quarantine(client, str(error), "tensor")
        return found

    def scores(self, frames: Mapping[int, Frame], sizes: Mapping[int, int]) -> dict[int, Tally]:
        """Return what clients tell of ``sizes`` held-out samples that they scored themselves."""
        found = {}
        for client, frame in frames.items():
            told = frame.envelope.tally
            if frame.kind == "refusal" or told.bad_step >= 0 or not _is_sound(told, sizes[client]):
                self._house.quarantine(client, "what it tells of held-out samples can't be", "values")
            else:
                found[client] = Tally(told.loss, told.correct, told.samples)
        return found

    def _answer(self, frame: Frame, size: int) -> tuple[Tensor, float, int]:
        if frame.kind == "refusal":
            raise Malformed(f"it refused: {frame.envelope.refusal.reason}")
        shape = (size, *(self._features or ()))
        most = most_norm(torch.Size(shape).numel())
        gradients = read(frame, {"values": (torch.float32, shape)}, most_norm=most)["values"]
        told = frame.envelope.feature_gradients
        if not _is_loss(told.loss, size) or told.correct > size:
            raise Malformed("what it tells of its loss can't be")
        return gradients, told.loss, told.correct

    def weights(self, frames: Mapping[int, Frame]) -> dict[int, dict[str, Tensor]]:
        """Return the weights and buffers that clients sent."""
        found = {}
        for client, frame in frames.items():
            try:
                own = read(frame, self._weights, most_norm=self._most_norm)
                check_buffers(own)
                found[client] = {name: tensor.to(self._device) for name, tensor in own.items()}
            except Malformed as error:
                self._house.quarantine(client, str(error), "tensor")
        return found

    def digests(self, frames: Mapping[int, Frame]) -> dict[int, str]:
        """Return the SHA-256s that clients told, as 64 hexadecimal digits."""
        told = {client: frame.envelope.done.digest for client, frame in frames.items()}
        wrong = [client for client, text in told.items() if not _DIGEST.fullmatch(text)]
        for client in wrong:
            self._house.quarantine(client, "what it tells as a SHA-256 is none", "values")
            del told[client]
        return told

    def tally(self, frames: Mapping[int, Frame], sizes: Mapping[int, int]) -> Tally:
        """Add up what clients tell of a pass that they took alone, over ``sizes`` samples each.

        That the loss stopped being a number is believed if most tell it; of a few it is their own affair.
        """
        told = {client: frame.envelope.tally for client, frame in frames.items()}
        for client in [client for client, tally in told.items() if not _is_sound(tally, sizes[client])]:
            self._house.quarantine(client, "what it tells of its pass can't be", "values")
            del told[client]
        diverged = [client for client, tally in told.items() if tally.bad_step >= 0]
        if 2 * len(diverged) > len(told):
            return Tally(math.nan, 0, 0, min(told[client].bad_step for client in diverged))
        for client in diverged:
            self._house.quarantine(client, "its loss stopped being a number", "values")
            del told[client]
        tallies = told.values()
        return Tally(
            sum(one.loss for one in tallies), sum(one.correct for one in tallies), sum(one.samples for one in tallies)
        )

    def _read(self, client: int, frame: Frame, smashed: Tensor, labels: Tensor) -> bool:
        """Fill in what a client sent; quarantine it and say False if that can't be believed."""
        try:
            self._fill(frame, smashed, labels)
        except (Malformed, ValueError) as error:
            self._house.quarantine(client, str(error), "tensor")
            return False
        return True

    def _fill(self, frame: Frame, smashed: Tensor, labels: Tensor) -> None:
        if frame.kind == "refusal":
            raise Malformed(f"it refused: {frame.envelope.refusal.reason}")
        shape = tuple(smashed.shape)
        layout: Layout = {**self._codec.layout(shape)}
        if self._features is None:
            layout = {**layout, "labels": (torch.int64, shape[:1])}
        check_layout(frame, layout)
        most = most_norm(smashed.numel())
        if self._codec.exact:
            read_into(frame, "values", smashed, most_norm=most)
        else:
            parts = read(frame, layout)
            parts.pop("labels", None)
            smashed.copy_(self._codec.decode(parts, shape))
            check_norm("smashed data", smashed, most)
        if self._features is None:
            read_into(frame, "labels", labels)
            check_labels(labels, self._classes)


def _is_sound(told: wire.Tally, samples: int) -> bool:
    counted = told.samples == samples and told.correct <= samples
    return counted and (told.bad_step >= 0 or _is_loss(told.loss, samples))


def _is_loss(loss: float, samples: int) -> bool:
    # NaN is none.
    return abs(loss) <= MOST_LOSS * samples


def check_buffers(tensors: Weights) -> None:
    """Raise Malformed if what a normalisation layer counts or squares is negative: averaged, it would be NaN later."""
    for name, tensor in tensors.items():
        if name.endswith(("running_var", "num_batches_tracked")) and bool((tensor < 0).any()):
            raise Malformed(f"tensor {name!r}: expected nothing below zero")


def check_norm(name: str, values: Tensor, most: float) -> None:
    """Raise Malformed if the norm of decoded values is greater than ``most``, or is none."""
    norm = float(torch.linalg.vector_norm(values))
    if not norm <= most:
        raise Malformed(f"{name}: expected a norm of at most {most:g}, got a greater one, NaN or infinity")
