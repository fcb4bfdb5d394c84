"""Hold out some of the samples: each class in proportion, no group of samples on both sides."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError
from sglr.core.random import generator

Rows = NDArray[np.int64]
Counts = NDArray[np.float64]  # rows of each class

MOST_TRIES, GROUPS_DRAWN = 16, 20_000  # draws of groups, of which the best is kept; fewer if there are many groups


def stratified_split(
    targets: NDArray[Any], fraction: float, seed: int, groups: NDArray[Any] | None = None
) -> tuple[Rows, Rows]:
    """Split rows into a training and a test part, each class in proportion.

    Parameters
    ----------
    targets
        Class of every sample ``[N]``; other targets, floats or ``[N, ...]``, are drawn without regard to them.
    fraction
        Fraction of the samples in the test part, between 0 and 1; their number is rounded up.
    seed
        Seed of the draw.
    groups
        Group of every sample ``[N]``, such as a patient; a group is never on both sides. None for no groups.

    Returns
    -------
    Rows of the training part and rows of the test part, each in ascending order.

    Raises
    ------
    UsageError
        If the fraction leaves either part empty, or no group can be held out without losing a class.
    """
    total = len(targets)
    held = ceil(total * fraction) if 0 < fraction < 1 else 0
    if not 0 < held < total:
        problem = f"cannot divide {total} samples into a training and a test part"
        raise UsageError("test_fraction", fraction, problem, "give a fraction between 0 and 1, such as 0.2")
    test = held_apart(targets, held, generator(seed, "test split"), groups)
    return np.flatnonzero(~test), np.flatnonzero(test)


def held_apart(
    targets: NDArray[Any], held: int, rng: np.random.Generator, groups: NDArray[Any] | None = None
) -> NDArray[np.bool_]:
    """Draw rows to hold out, each class in proportion.

    Without groups, exactly ``held`` rows are drawn, each class's share to within one row; more or less only so that
    each class is left, and each class of two or more rows is in both parts, if ``held`` allows it.
    With groups, whole groups are drawn, so sizes and shares are met approximately; each class is left.

    Parameters
    ----------
    targets
        Class of every row ``[N]``; other targets, floats or ``[N, ...]``, are drawn without regard to them.
    held
        The number of rows to draw, 0 to N - 1.
    rng
        Random generator.
    groups
        Group of every row ``[N]``, or None.

    Returns
    -------
    Whether each row is held out, ``[N]``.

    Raises
    ------
    UsageError
        If no group can be held out without losing a class.
    """
    has_class = targets.ndim == 1 and targets.dtype.kind != "f"
    classes = np.unique(targets, return_inverse=True)[1] if has_class else np.zeros(len(targets), dtype=np.int64)
    if groups is not None and held:
        return _whole_groups(classes, held, rng, np.unique(groups.astype(str), return_inverse=True)[1])
    apart = np.zeros(len(targets), dtype=bool)
    shuffled = rng.permutation(len(targets))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    # Evenly spaced positions in an order sorted by class take each class's share.
    apart[by_class[((np.arange(held) + 0.5) * len(targets) / max(held, 1)).astype(np.int64)]] = True
    _keep_classes(apart, classes, by_class)
    return apart


def _keep_classes(apart: NDArray[np.bool_], classes: Rows, by_class: Rows) -> None:
    """Swap rows so that each class is on both sides, if there are enough rows."""
    totals = np.bincount(classes)
    for side, least in ((False, 1), (True, 2)):  # a class with one row belongs to the training side
        for lost in np.flatnonzero(
            (np.bincount(classes[apart == side], minlength=len(totals)) == 0) & (totals >= least)
        ):
            counts = np.bincount(classes[apart == side], minlength=len(totals))
            surplus = np.where(counts > 1, counts - totals * (counts.sum() / len(classes)), -np.inf)
            if counts.max() > 1:
                _exchange(
                    apart, side, by_class[classes[by_class] == lost], by_class[classes[by_class] == surplus.argmax()]
                )


def _exchange(apart: NDArray[np.bool_], side: bool, lost: Rows, giver: Rows) -> None:
    """Move a row of one class to a side, in exchange for a row of another class."""
    leaving = giver[apart[giver] == side][0]
    apart[lost[0]], apart[leaving] = side, not side


def _whole_groups(classes: Rows, held: int, rng: np.random.Generator, groups: Rows) -> NDArray[np.bool_]:
    """Draw whole groups whose class counts are nearest to the aim; keep the best of several draws."""
    table = np.zeros((groups.max() + 1, classes.max() + 1))
    np.add.at(table, (groups, classes), 1)
    aim = table.sum(axis=0) * held / len(classes)
    tries = max(1, min(MOST_TRIES, GROUPS_DRAWN // len(table)))
    drawn = [_draw_groups(table, aim, rng) for _ in range(tries)]
    best = min(drawn, key=lambda chosen: _distance(table[chosen].sum(axis=0), aim))
    return np.isin(groups, best)


def _draw_groups(table: Counts, aim: Counts, rng: np.random.Generator) -> list[int]:
    """Visit groups in random order, and take each that brings the class counts nearer to the aim."""
    chosen: list[int] = []
    counts, left = np.zeros_like(aim), table.sum(axis=0)
    order = [group for group in rng.permutation(len(table)).tolist() if not _last_of_a_class(table[group], left)]
    if not order:
        problem = "no group can be held out, since each has all rows of some class"
        raise UsageError("group", f"{len(table)} group(s)", problem, "name a column with more values")
    for group in order:
        nearer = _distance(counts + table[group], aim) < _distance(counts, aim)
        if nearer and not _last_of_a_class(table[group], left):
            chosen.append(group)
            counts, left = counts + table[group], left - table[group]
    return chosen or [min(order, key=lambda group: float(table[group].sum()))]  # all are larger than the aim


def _last_of_a_class(group: Counts, left: Counts) -> bool:
    return bool(((group > 0) & (group == left)).any())


def _distance(counts: Counts, aim: Counts) -> float:
    """Pearson's chi-squared of class counts against the aim, so that rare classes weigh as much as others."""
    return float(((counts - aim) ** 2 / aim).sum())
