"""Compress what crosses the cut in both directions, for all clients, with one error memory per sender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sglr.compression.error_feedback import ErrorFeedbackChannel
from sglr.core.codec import Codec
from sglr.core.types import Downlink, Uplink

UP, AVERAGE = "up.", "average"
"""What channels to the server are named with, and the channel for what is sent once to all active clients."""


class Channels:
    """The channels of all clients, by name: ``up.ID``, ``down.ID`` and ``average``.

    If sender and receiver are in one process, `received` and `delivered` return the decoded values. If they are
    not, `up`, `down` and `average` return the parts to send: call them once per message, as they update the memory.

    Parameters
    ----------
    codec
        The codec.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._links: dict[str, ErrorFeedbackChannel] = {}

    def _link(self, name: str) -> ErrorFeedbackChannel:
        """Return a channel, made when it is first used."""
        codec = self.codec if name.startswith(UP) else self.codec.of_gradients
        return self._links.setdefault(name, ErrorFeedbackChannel(codec))

    def of_cut(self, cut: int) -> Channels:
        """Return the channels of the clients of a cut: these, where all are cut at one place."""
        del cut
        return self

    def up(self, client: int, values: Tensor) -> dict[str, Tensor]:
        """Return the parts of a client's smashed data ``[b, ...]``."""
        return self._link(f"{UP}{client}").send(values)

    def down(self, client: int, values: Tensor) -> dict[str, Tensor]:
        """Return the parts of a client's own cut-layer gradients ``[b, ...]``."""
        return self._link(f"down.{client}").send(values)

    def average(self, values: Tensor) -> dict[str, Tensor]:
        """Return the parts of gradients ``[b, ...]`` that are the same for all active clients."""
        return self._link(AVERAGE).send(values)

    def received(self, uplink: Uplink) -> Uplink:
        """Return the clients' smashed data as the server decodes them."""
        if self.codec.exact:
            return uplink
        names = [f"{UP}{client}" for client in uplink.clients]
        return replace(uplink, smashed=self._arrived(self.codec, names, uplink.smashed, uplink.sizes))

    def delivered(self, downlink: Downlink, clients: Sequence[int], sizes: Sequence[int]) -> Downlink:
        """Return what ``clients`` with batches of ``sizes`` receive: what they share by position is encoded once."""
        gradients = downlink.gradients
        codec = self.codec.of_gradients
        if codec.exact or gradients is None:
            return downlink
        names = [f"down.{client}" for client in clients]
        averaged = downlink.averaged
        if not codec.feedback or averaged is None or not averaged.by_position:
            return downlink._replace(gradients=self._arrived(codec, names, gradients, sizes))
        arrived = torch.zeros_like(gradients)
        own = [row for row in range(len(names)) if row not in averaged.rows]
        if own:
            arrived[own] = self._arrived(
                codec, [names[row] for row in own], gradients[own], [sizes[row] for row in own]
            )
        shared = codec.decode(self.average(averaged.gradients), tuple(averaged.gradients.shape))
        for row in averaged.rows:
            arrived[row, : sizes[row]] = shared[: sizes[row]]
        return downlink._replace(gradients=arrived)

    def _arrived(self, codec: Codec, names: Sequence[str], values: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return ``values`` ``[n, b, ...]`` as decoded after the channels ``names``, zero where there is no sample."""
        if not codec.feedback:
            # Each sample is encoded independently, so all are encoded in one call.
            return torch.unflatten(codec.received(values.flatten(0, 1)), 0, values.shape[:2])
        arrived = torch.zeros_like(values)
        for row, (name, size) in enumerate(zip(names, sizes, strict=True)):
            parts = self._link(name).send(values[row, :size])
            arrived[row, :size] = codec.decode(parts, tuple(values[row, :size].shape))
        return arrived

    def state(self) -> dict[str, Tensor]:
        """Return the error memories for a checkpoint."""
        return {f"{name}.{key}": value for name, link in self._links.items() for key, value in link.state().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        self._links.clear()
        for name, tensor in tensors.items():
            link, _, key = name.rpartition(".")
            self._link(link).restore({key: tensor})
