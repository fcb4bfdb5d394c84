"""What crossed in a step, where clients that are cut at several places send messages of several shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sglr.core.events import Traffic
from sglr.cost.fleet import Figures

OF_ANY_CUT = ("labels", "features")
"""What has as many bytes for a sample of any cut; one of them is in every exchange."""


def joined(sent: Sequence[Traffic]) -> list[Traffic]:
    """Return messages of one kind and direction as one, by ascending clients; those of each cut came by themselves."""
    groups: dict[tuple[str, bool], list[Traffic]] = {}
    for one in sent:
        groups.setdefault((one.kind, one.up), []).append(one)
    return [group[0] if len(group) == 1 else _as_one(group) for group in groups.values()]


def _as_one(group: Sequence[Traffic]) -> Traffic:
    clients = np.concatenate([one.clients for one in group])
    order = np.argsort(clients, kind="stable")
    sizes = np.concatenate([one.sizes for one in group])[order]
    return Traffic(group[0].kind, group[0].up, tuple(clients[order].tolist()), sizes)


def samples_of(sent: Sequence[Traffic], samples: int) -> Figures:
    """Return how many of a step's samples each client of the first message has, ``[n]``."""
    by = next((one for one in sent if one.kind in OF_ANY_CUT), sent[0])
    counts: Figures = by.sizes * (samples / by.sizes.sum())
    return counts
