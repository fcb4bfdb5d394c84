"""How smashed data of several cuts are written: of each cut by a codec, and in a shape, of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sglr.compression.channels import Channels
from sglr.core.codec import Codec, CodecByCut
from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.cuts.cut_rows import to_rows
from sglr.core.types import Downlink, Uplink
from sglr.core.weights import below


@dataclass(frozen=True)
class CutCodecs:
    """The codec of each cut, by its number: a `CodecByCut`.

    Parameters
    ----------
    codecs
        One for each cut.
    """

    codecs: tuple[Codec, ...]

    def of_cut(self, cut: int) -> Codec:
        """Return how smashed data of a cut are written."""
        return self.codecs[cut]


class CutChannels:
    """The channels of all clients where these are cut at several places: see `sglr.compression.channels.Channels`.

    Parameters
    ----------
    codec
        How smashed data of each cut are written.
    cuts
        Which client is cut where.
    """

    def __init__(self, codec: CodecByCut, cuts: ClientCuts) -> None:
        self._cuts = cuts
        self._of = [Channels(codec.of_cut(cut)) for cut in range(len(cuts.names))]

    def of_cut(self, cut: int) -> Channels:
        """Return the channels of the clients of a cut."""
        return self._of[cut]

    def received(self, uplink: Uplink) -> Uplink:
        """Return the clients' smashed data as the server decodes them."""
        if all(channels.codec.exact for channels in self._of):
            return uplink
        smashed = torch.zeros_like(uplink.smashed)
        for cut, rows, own in uplink.of_cuts():
            smashed[rows] = to_rows(self._of[cut].received(own).smashed, cut, self._cuts.width)
        return replace(uplink, smashed=smashed)

    def delivered(self, downlink: Downlink, clients: Sequence[int], sizes: Sequence[int]) -> Downlink:
        """Return what ``clients`` with batches of ``sizes`` receive."""
        if downlink.gradients is None or all(channels.codec.of_gradients.exact for channels in self._of):
            return downlink
        cuts = self._cuts.rows(clients)
        arrived = torch.zeros_like(downlink.gradients)
        for cut, rows in cuts.groups():
            own = self._of[cut].delivered(
                downlink.at(cut, rows, cuts), [clients[row] for row in rows], [sizes[row] for row in rows]
            )
            assert own.gradients is not None, "there were some"
            arrived[rows] = to_rows(own.gradients, 0, cuts.width)
        return downlink._replace(gradients=arrived)

    def state(self) -> dict[str, Tensor]:
        """Return the error memories for a checkpoint."""
        each = enumerate(self._of)
        return {f"{cut}.{name}": tensor for cut, own in each for name, tensor in own.state().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        for cut, own in enumerate(self._of):
            own.restore(below(f"{cut}.", tensors))


def channels_of(codec: CodecByCut, cuts: ClientCuts | None) -> Channels | CutChannels:
    """Return the channels of all clients; ``cuts`` is None where these are cut at one place."""
    return Channels(codec.of_cut(0)) if cuts is None else CutChannels(codec, cuts)
