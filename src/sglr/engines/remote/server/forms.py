"""What each client sends and holds: alike for all, but where clients are cut at several places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from sglr.core.codec import Codec, CodecByCut
from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.weights import Weights
from sglr.splitting.trunk import entered


@dataclass(frozen=True)
class Forms:
    """The forms of clients' smashed data and weights.

    Parameters
    ----------
    codec
        How smashed data are written.
    cut
        Shape of one sample's smashed data.
    segment
        Names, shapes and types of the weights that a client sends; of one who has the most, where they differ.
    cuts
        Which client is cut where; None where all are cut at one place.
    """

    codec: CodecByCut
    cut: tuple[int, ...]
    segment: Weights
    cuts: ClientCuts | None = None

    def place(self, client: int) -> int:
        """Return the number of a client's cut, 0 where all are cut at one place."""
        return 0 if self.cuts is None else self.cuts.places[client]

    def shape(self, client: int) -> tuple[int, ...]:
        """Return the shape of one sample's smashed data of a client."""
        return self.cut if self.cuts is None else self.cuts.shapes[self.place(client)]

    def codec_of(self, client: int) -> Codec:
        """Return how a client's smashed data are written."""
        return self.codec.of_cut(self.place(client))

    def held(self, weights: Weights, client: int) -> Weights:
        """Return those of the weights that a client holds."""
        return weights if self.cuts is None else self.cuts.held(weights, self.place(client))

    def groups(self, clients: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the clients in groups of those that have the same forms; none of none."""
        if self.cuts is None:
            return [tuple(clients)]
        return [own for _, own in self.cuts.groups(clients)]

    @property
    def written(self) -> list[tuple[Codec, tuple[int, ...]]]:
        """Of each cut, how smashed data are written, and the shape of one sample's."""
        shapes = (self.cut,) if self.cuts is None else self.cuts.shapes
        return [(self.codec.of_cut(place), shape) for place, shape in enumerate(shapes)]

    @property
    def largest(self) -> tuple[int, ...]:
        """The shape of the largest smashed data of one sample."""
        return self.cut if self.cuts is None else max(self.cuts.shapes, key=prod)

    def server_of(self, server: nn.Module, client: int) -> nn.Module:
        """Return the server's segment as a client knows it."""
        return entered(server, self.place(client))

    def side_by_side(self, found: Mapping[int, Weights]) -> dict[str, Tensor]:
        """Return clients' weights ``[n, ...]``, zero where a client does not hold them."""
        rows = list(found.values())
        names = [name for name in self.segment if any(name in own for own in rows)]
        some = {name: next(own[name] for own in rows if name in own) for name in names}
        return {name: torch.stack([own.get(name, torch.zeros_like(some[name])) for own in rows]) for name in names}
