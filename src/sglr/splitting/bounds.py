"""Which integers an upper segment takes beside what is learned: found on trials, to refuse others from a stranger."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from sglr.splitting.crossing import Crossing, Value, halves, joined

LEAST, MOST = -(1 << 31), (1 << 31) - 1
"""Integers of 32 bits."""

_SMALL = {torch.bool: (0, 1), torch.uint8: (0, 255), torch.int8: (-128, 127), torch.int16: (-(1 << 15), (1 << 15) - 1)}


def bounds_beside(upper: nn.Module, crossing: Crossing | None, rows: Tensor) -> tuple[tuple[int, int], ...]:
    """Return the smallest and the largest number that each value beside what is learned may have.

    Those are limits of its type, or, for numbers of tokens and the like, those beyond which the segment fails, as a
    table does that has fewer rows.

    Parameters
    ----------
    upper
        The server's segment; it stays as it is.
    crossing
        What crosses; None where one tensor does, which has nothing beside it.
    rows
        What crosses of two samples, ``[2, L + 2 M]``, which the segment takes.
    """
    if crossing is None:
        return ()
    twin, start, found = deepcopy(upper).cpu().eval(), 0, []
    for value in crossing.beside:
        found.append(_bounds(twin, crossing, value, rows.detach().cpu(), start))
        start += value.size
    return tuple(found)


def _bounds(twin: nn.Module, crossing: Crossing, value: Value, rows: Tensor, start: int) -> tuple[int, int]:
    if value.dtype in _SMALL:
        return _SMALL[value.dtype]
    if value.dtype.is_floating_point:
        return LEAST, MOST
    places = [crossing.learned_size + half * crossing.beside_size + start for half in (0, 1)]

    def takes(number: int) -> bool:
        tried = rows.clone()
        for place, half in zip(places, halves(torch.tensor([[number]], dtype=torch.int32)), strict=True):
            tried[:, place : place + value.size] = half
        try:
            with torch.no_grad(), torch.random.fork_rng([]):
                twin(tried)
        except Exception:  # a segment may raise anything at a number that it does not know
            return False
        return True

    own = joined(*(rows[:, place : place + value.size] for place in places))
    return _farthest(takes, int(own.min()), LEAST), _farthest(takes, int(own.max()), MOST)


def _farthest(takes: Callable[[int], bool], known: int, limit: int) -> int:
    """Return the number nearest to ``limit`` that is taken, from ``known`` on, which is."""
    if takes(limit):
        return limit
    good, bad = known, limit
    while abs(bad - good) > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if takes(middle) else (good, middle)
    return good
