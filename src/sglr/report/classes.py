"""How well each class is recognised, as a run's report shows it: a confusion matrix and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sglr.report import numbers
from sglr.report.svg import inline_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELLS = 12
"""Classes up to which each cell shows its figure; more are drawn as a picture."""

SHOWN = 20
"""Classes up to which the table is open; of more, those with the lowest recall."""


def classes_section(test: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the cards about classes for the template; None where no figures of single classes exist.

    Returns
    -------
    dict or None
        ``rows`` of the open table, ``more`` of them, ``names``, ``what`` is counted, and the confusion matrix as
        ``cells`` (share of the true class in percent, and in [0, 1]) or as ``picture``; neither where it was not kept.
    """
    known: Sequence[Mapping[str, Any]] = test.get("per_class") or ()
    confusion = test.get("confusion") or ()
    of_pixels = bool(known) and "iou" in known[0]
    of_samples = bool(known) and "recall" in known[0]
    if not (confusion or of_samples):
        return None
    names = [str(one["name"]) for one in known] or _names(len(confusion))
    rows = [_row(one) for one in known] if of_samples else []  # classes of pixels have figures of their own
    if len(rows) > SHOWN:
        ranked = sorted(range(len(rows)), key=lambda place: _recall(known[place]))
        rows = [rows[place] for place in ranked]
    shares = _shares(confusion)
    small = 0 < len(shares) <= CELLS
    return {
        "rows": rows[:SHOWN],
        "more": rows[SHOWN:],
        "names": names,
        "what": "pixels of the test" if of_pixels else "test samples",
        "cells": [(name, [_cell(share) for share in row]) for name, row in zip(names, shares, strict=True)]
        if small
        else [],
        "picture": inline_svg(_figure(shares, names), "confusion", "confusion matrix", growth=1.0)
        if shares and not small
        else None,
    }


def _names(number: int) -> list[str]:
    """Name classes that the summary does not name: findings, absent or present, or numbers."""
    return ["negative", "positive"] if number == 2 else [str(place) for place in range(number)]


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    figures = (numbers.percent(one[name]) for name in ("recall", "precision", "f1"))
    return (str(one["name"]), numbers.count(one["support"]), *figures)


def _recall(one: Mapping[str, Any]) -> float:
    return 2.0 if one["recall"] is None else float(one["recall"])


def _shares(confusion: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return the shares of each true class; a class without samples has none."""
    return [[count / max(1, sum(row)) for count in row] for row in confusion]


def _cell(share: float) -> tuple[str, float]:
    percent = share * 100
    return ("" if not share else "<1" if percent < 0.95 else f"{percent:.0f}", round(share, 3))


def _figure(shares: Sequence[Sequence[float]], names: Sequence[str]) -> Figure:
    import numpy as np

    from sglr.data.class_counts import plot_cells

    return plot_cells(np.asarray(shares) * 100, names, names, ("true class", "predicted class"), "% of true class")
