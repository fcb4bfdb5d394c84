"""Where one method becomes cheaper than another, as one number changes and the others stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise

from sglr.planner.costs import MEASURES, MethodCost, Scenario, method_costs

PAIRS = (("sglr", "psl"), ("sglr", "sfl"), ("sglr", "fl"), ("psl", "fl"), ("sfl", "fl"))
"""Which methods are set against each other."""

OVER = ("samples", "clients", "phi")
"""What changes: |D|, |C| (with |D| as it is), φ."""

_MOST_SAMPLES = 2**40
_TIE = 1e-14
_PHI_STEP = 1 / 64
_PHI_EXACT = 1e-12


@dataclass(frozen=True)
class Crossover:
    """Which of two methods is cheaper on either side of a value.

    Parameters
    ----------
    measure
        A name of `sglr.planner.costs.MEASURES`.
    between
        The two methods.
    over
        What changes: a name of `OVER`.
    at
        The last value at which ``below`` is cheaper; None if it is the same one everywhere.
    below, above
        The cheaper method up to ``at`` and beyond; None where both cost the same.
    """

    measure: str
    between: tuple[str, str]
    over: str
    at: float | None
    below: str | None
    above: str | None


def crossovers(scenario: Scenario) -> list[Crossover]:
    """Return all crossovers of all pairs and measures around a scenario.

    |D| runs from one sample per client upwards, |C| from one client to one per sample, φ from 0 to 1. A client's
    operations are left out: what FL computes more than the others does not depend on any of these.
    """
    given = method_costs(scenario)
    known = [name for name in MEASURES if name != "client_flops" and given["fl"].measure(name) is not None]

    @cache
    def costs(over: str, value: float) -> Mapping[str, MethodCost]:
        return method_costs(_changed(scenario, over, value))

    return [
        Crossover(measure, pair, over, *found)
        for measure in known
        for pair in PAIRS
        for over in OVER
        if over != "phi" or "sglr" in pair
        for found in _along(partial(costs, over), _grid(scenario, over), pair, measure)
    ]


def _along(
    costs: Callable[[float], Mapping[str, MethodCost]], grid: Sequence[float], pair: tuple[str, str], measure: str
) -> list[tuple[float | None, str | None, str | None]]:
    def sign(value: float) -> int:
        first, second = (costs(value)[method].measure(measure) or 0.0 for method in pair)
        close = abs(first - second) <= _TIE * max(abs(first), abs(second))
        return 0 if close else 1 if first > second else -1

    cheaper = {-1: pair[0], 0: None, 1: pair[1]}
    changes = _sign_changes(sign, grid)
    if not changes:
        name = cheaper[sign(grid[0])]
        return [(None, name, name)]
    return [(at, cheaper[below], cheaper[above]) for at, below, above in changes]


def _changed(scenario: Scenario, over: str, value: float) -> Scenario:
    if over == "phi":
        return replace(scenario, phi=value)
    return replace(scenario, sizes=replace(scenario.sizes, **{over: int(value)}))


def _grid(scenario: Scenario, over: str) -> Sequence[float]:
    sizes = scenario.sizes
    if over == "phi":
        return [step * _PHI_STEP for step in range(round(1 / _PHI_STEP) + 1)]
    if over == "samples":
        return _doubled(sizes.clients, max(_MOST_SAMPLES, 2 * sizes.clients))
    return _doubled(1, sizes.samples)


def _doubled(first: int, last: int) -> list[float]:
    values: list[float] = [first]
    while 2 * values[-1] < last:
        values.append(2 * values[-1])
    return [*values, last]


def _sign_changes(sign: Callable[[float], int], grid: Sequence[float]) -> list[tuple[float, int, int]]:
    """Return (last value before, sign before, sign behind) of every change between neighbours of the grid."""
    exact = 1 if isinstance(grid[0], int) else _PHI_EXACT
    changes: list[tuple[float, int, int]] = []
    for low, high in pairwise(grid):
        before, behind = sign(low), sign(high)
        if before != behind:
            at = _last(sign, low, high, exact)
            # A tie at a single value is a passing, not a range of its own.
            if changes and changes[-1][2] == 0 == before and at - changes[-1][0] <= exact:
                at, before, _ = changes.pop()
            if before != behind:
                changes.append((at, before, behind))
    return changes


def _last(sign: Callable[[float], int], low: float, high: float, exact: float) -> float:
    """Halve until the last value with the sign of ``low`` is found."""
    before = sign(low)
    while high - low > exact:
        middle = (low + high) // 2 if exact == 1 else (low + high) / 2
        low, high = (middle, high) if sign(middle) == before else (low, middle)
    return low
