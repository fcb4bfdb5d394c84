"""The segments of a training whose clients are cut at several places: a lower one for each cut, and the trunk."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import nn

from sglr.adapters import require_adapters
from sglr.assembly.initial_weights import FirstWeights
from sglr.assembly.segments import FEW_CLIENTS, End, Segments, log, placed
from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.weights import state_of, trained_of
from sglr.planner.share_of_cut import nearest_cut, share_of
from sglr.runs.client_cuts import cuts_of_clients, told
from sglr.splitting import (
    ClientSegments,
    Split,
    Thirds,
    check_segments,
    crossing_of,
    features_of,
    parts_of,
)
from sglr.splitting.several import nested, place_of, split_at_several
from sglr.splitting.single_samples import needing_two as found_needing_two
from sglr.splitting.trunk import Trunk, entered


class OneCut(Exception):  # noqa: N818 - says what was found
    """All cuts that were given are one place in the model."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class SeveralSegments(Segments):
    """The lower segment of every client, each up to its own cut, and the server's trunk behind the first of them.

    Parameters, errors and attributes are those of `sglr.assembly.segments.Segments`; ``cut`` tells all clients' cuts as
    ``--cuts`` takes them.

    Raises
    ------
    OneCut
        If the cuts that are given are one place.
    """

    def _default_cut(self, model: nn.Module) -> str | int:
        """Find the cuts in their order, and every client's among them."""
        text = self._experiment.cuts
        assert text is not None, "cuts are given"
        given = cuts_of_clients(text, self._experiment.clients)
        named = {cut: place_of(model, self._named(model, cut)) for cut in dict.fromkeys(given)}
        self._names, numbers = nested(model, list(dict.fromkeys(named.values())), self.example)
        if len(self._names) == 1:
            raise OneCut(self._names[0])
        self._places = tuple(numbers[named[cut]] for cut in given)
        return told([self._names[place] for place in self._places])

    def _named(self, model: nn.Module, cut: str) -> str | int:
        share = share_of(cut)
        found = placed(cut) if share is None else nearest_cut(model, share, self.example)
        assert found is not None, "a text was given"
        return found

    def _fit(self, whole: nn.Module, clients: int) -> None:
        """Divide the first model at all cuts, and try each client's segment with the server's on two samples."""
        firsts, trunk = self._divided_at_all(whole)
        self._firsts, self.upper, self._first = firsts, trunk, firsts[self._places[0]]
        shapes = []
        for cut, first in enumerate(firsts):
            _, tail = parts_of(first)
            behind = nn.Sequential(entered(trunk, cut), tail)
            shape, _ = check_segments(Split(first, behind), self.example, self._output_shape)
            shapes.append(shape)
            if not trained_of(first):
                log.warning("clients that are cut behind %s have no trained weight, and only send", self._names[cut])
        if self._lora is not None:
            require_adapters(self._lora, trained_of(firsts[-1]), trained_of(trunk))
        layers = tuple(frozenset(state_of(first)) for first in firsts)
        self.cuts = ClientCuts(self._names, self._places, tuple(shapes), layers)
        self.cut_shape, self.crossing, self.head = (self.cuts.width,), None, None
        self._learned: dict[int, FirstWeights | None] = {}
        self._many = clients > FEW_CLIENTS

    def _divided_at_all(self, whole: nn.Module) -> tuple[list[nn.Module], Trunk]:
        """Return all that a client of each cut holds, and the server's trunk."""
        several = split_at_several(whole, self._names, self.tail, self.example)
        firsts: list[nn.Module] = []
        for cut, lower in enumerate(several.lowers):
            own = lower
            if self.tail is not None:
                tail, upper = several.tails[cut], entered(several.trunk, cut)
                own = ClientSegments(lower, tail, features_of(Thirds(lower, upper, tail), self.example))
            firsts.append(self.defences.covered(own))
        trunk = several.trunk
        trunk.layers = tuple(_as_clients_have(layers, firsts[-1]) for layers in trunk.layers)
        return firsts, trunk

    def _divided(self, whole: nn.Module, client: int = 0) -> Split:
        firsts, trunk = self._divided_at_all(whole)
        return Split(firsts[self._places[client]], trunk)

    def needing_two(self) -> tuple[str, ...]:
        """Name the segments that can't train on a single sample, at any of the cuts."""
        found: dict[str, None] = {}
        for cut, first in enumerate(self._firsts):
            lower, tail = parts_of(first)
            found |= dict.fromkeys(found_needing_two(Thirds(lower, entered(self.upper, cut), tail), self.example))
        return tuple(found)

    def _first_of(self, client: int) -> nn.Module:
        return self._firsts[self._places[client]]

    def _drawn_of(self, client: int) -> FirstWeights | None:
        place = self._places[client]
        if place not in self._learned:
            self._learned[place] = self._followed_at(place) if self._many and not self._common else None
        return self._learned[place]

    def _followed_at(self, place: int) -> FirstWeights | None:
        segment = partial(self._at, place)
        return FirstWeights.learn(self._models.build, segment, clients=(1, 2), seed=self._models.key)

    def _at(self, place: int, whole: nn.Module) -> nn.Module:
        return self._divided_at_all(whole)[0][place]

    def ends(self) -> list[End]:
        """Return both ends of every cut, from the first."""
        return [End(first, entered(self.upper, cut), crossing_of(first)) for cut, first in enumerate(self._firsts)]


def _as_clients_have(layers: Mapping[str, str], deepest: nn.Module) -> dict[str, str]:
    """Return a stage's names by those of the client that holds the most, whose segment may be wrapped."""
    own = state_of(deepest)
    found = {}
    for name, its in layers.items():
        same = [known for known in own if known == name or known.endswith(f".{name}")]
        found[min(same, key=len) if same else name] = its
    return found
