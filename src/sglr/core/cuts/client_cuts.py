"""Which client is cut where, and what it holds: of a training whose clients are cut at several places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sglr.core.cuts.cut_rows import CutRows, width_of
from sglr.core.weights import Weights


@dataclass(frozen=True)
class ClientCuts:
    """The cuts of a training, from the one nearest to the input to the deepest.

    Parameters
    ----------
    names
        The cuts, K of them: each client's layers of a cut are among those of the next.
    places
        The number of each client's cut, by id.
    shapes
        Shape of one sample's smashed data at each cut.
    layers
        Names of the weights and buffers that a client has at each cut.
    """

    names: tuple[str, ...]
    places: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    layers: tuple[frozenset[str], ...]

    @property
    def width(self) -> int:
        """W, numbers of one sample's row."""
        return width_of(self.shapes)

    @property
    def first_clients(self) -> list[int]:
        """The first client of each cut."""
        return [self.places.index(place) for place in range(len(self.names))]

    def rows(self, clients: Sequence[int]) -> CutRows:
        """Return the cuts of the rows of these clients."""
        return CutRows(tuple(self.places[client] for client in clients), self.shapes)

    def groups(self, clients: Sequence[int]) -> list[tuple[int, tuple[int, ...]]]:
        """Return every cut that one of the clients has, from the first, with those who have it, in their order."""
        groups = self.rows(clients).groups()
        return [(cut, tuple(clients[row] for row in rows)) for cut, rows in groups]

    def held(self, weights: Weights, cut: int) -> Weights:
        """Return those of ``weights`` that clients of a cut hold."""
        return {name: tensor for name, tensor in weights.items() if name in self.layers[cut]}
