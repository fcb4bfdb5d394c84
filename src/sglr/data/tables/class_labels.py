"""Labels that are classes: which there are, and the class of each row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from sglr.core.errors import UsageError
from sglr.data.classes import refuse_unknown
from sglr.data.tables.column_kinds import Notation, holds_numbers, is_missing, texts_of, values_of
from sglr.data.tables.labelled import Labelled, between, numbers_of, positions
from sglr.data.tables.schema import Label

FEW_CLASSES = 20  # up to this many distinct numbers are classes, for any number of rows
ROWS_PER_CLASS = 10  # with more distinct numbers, classes need this many rows each on average


def find_classes(
    column: Any, classes: Sequence[str], edges: Sequence[float], notation: Notation, source: str
) -> Labelled:
    """Return the classes of a column, and the class of each row.

    Parameters
    ----------
    column
        A pandas series.
    classes
        The allowed classes in order; empty for all that occur, sorted.
    edges
        Thresholds that divide a numeric column into classes; empty if the column holds classes.
    notation
        How numbers are formatted in text.
    source
        Where it comes from, for messages.

    Raises
    ------
    UsageError
        If there are fewer than two classes, a class is not one of those given, or the column holds measurements.
    """
    name = str(column.name)
    if edges:
        names = list(classes) or _intervals(edges)
        label = _label(name, names, edges)
        return Labelled(
            label, between(numbers_of(column, notation, source, "edges need numbers", "label_edges"), edges)
        )
    texts = texts_of(column, source)
    present = sorted({text for text in texts if text is not None})
    if classes:
        refuse_unknown(present, classes, f"the column {name!r} of {source}")
    else:
        present = _sorted(present, column, notation, source)
        _check_classes(present, len(texts) - int(is_missing(texts).sum()), name, source)
    label = _label(name, classes or present, ())
    return Labelled(label, positions(texts, label.classes))


def _label(name: str, classes: Sequence[str], edges: Sequence[float]) -> Label:
    if len(set(classes)) < len(classes) or len(classes) < 2:
        problem = "training needs two or more classes with distinct names"
        raise UsageError("classes", ",".join(classes), problem, "give e.g. healthy,ill")
    if edges and (len(edges) != len(classes) - 1 or list(edges) != sorted({*edges}) or not np.isfinite(edges).all()):
        shown = ",".join(map(str, edges))
        raise UsageError(
            "label_edges", shown, "edges must be ascending, one fewer than classes", "give e.g. 2.1 for two classes"
        )
    return Label(name=name, classes=tuple(classes), edges=tuple(edges))


def _sorted(present: list[str], column: Any, notation: Notation, source: str) -> list[str]:
    """Return class names, sorted numerically if they are numbers; refuse measurements."""
    values = values_of(column, notation, source)
    if not holds_numbers(values) or {text.lower() for text in present} <= {"true", "false"}:
        return present
    known = values[~np.isnan(values)]
    distinct, rows = len(np.unique(known)), len(known)
    if (known % 1 != 0).any() or (distinct > FEW_CLASSES and distinct * ROWS_PER_CLASS > rows):
        found = f"{source} has {distinct} different numbers in {rows} rows of this column"
        problem = f"{found}: measurements rather than classes"
        remedy = (
            "is it to be predicted (--task regression; sglr schema: --label-kind numbers), or divided (--label-edges "
        )
        remedy += f"{np.median(known):g}), or is another column the label?"
        raise UsageError("label_column", str(column.name), problem, remedy)
    return sorted(present, key=lambda text: float(notation.read([text])[0]))


def _check_classes(classes: Sequence[str], rows: int, name: str, source: str) -> None:
    if len(classes) < 2:
        problem = f"{source} has {len(classes)} class in this column, but training needs two or more"
        raise UsageError("label_column", name, problem, "name the column that holds the classes")
    if len(classes) > FEW_CLASSES and len(classes) * 2 > rows:
        problem = (
            f"{source} has {len(classes)} different words in {rows} rows of this column: names rather than classes"
        )
        raise UsageError("label_column", name, problem, "name the column that holds the classes")


def _intervals(edges: Sequence[float]) -> list[str]:
    between = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [f"below {edges[0]:g}", *between, f"{edges[-1]:g} and above"]
