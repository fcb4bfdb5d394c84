"""The label of a table: the classes, and the class of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError
from sglr.data.classes import refuse_unknown
from sglr.data.tables.column_kinds import Notation, Numbers, Texts, holds_numbers, is_missing, texts_of, values_of
from sglr.data.tables.schema import Label, refuse_unknown_values

FEW_CLASSES = 20  # up to this many distinct numbers are classes, for any number of rows
ROWS_PER_CLASS = 10  # with more distinct numbers, classes need this many rows each on average
UNLABELLED = -1


@dataclass(frozen=True)
class Targets:
    """The class of each row.

    Parameters
    ----------
    label
        The column and its classes.
    numbers
        The class of each row ``[N]``, -1 if the label is missing.
    """

    label: Label
    numbers: NDArray[np.int64]


def read_label(column: Any, label: Label, notation: Notation, source: str) -> Targets:
    """Return the targets of a column for known classes.

    Raises
    ------
    UsageError
        If it has another class, or has no numbers although the label has edges.
    """
    if label.edges:
        return Targets(label, _between(_numbers(column, notation, source), label.edges))
    texts = texts_of(column, source)
    present = {text for text in texts if text is not None}
    refuse_unknown_values(sorted(present), label.classes, "class", label.name, source)
    return Targets(label, _positions(texts, label.classes))


def find_label(column: Any, classes: Sequence[str], edges: Sequence[float], notation: Notation, source: str) -> Targets:
    """Return the classes of a column, and its targets.

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
        return Targets(label, _between(_numbers(column, notation, source), edges))
    texts = texts_of(column, source)
    present = sorted({text for text in texts if text is not None})
    if classes:
        refuse_unknown(present, classes, f"the column {name!r} of {source}")
    else:
        present = _sorted(present, column, notation, source)
        _check_classes(present, len(texts) - int(is_missing(texts).sum()), name, source)
    label = _label(name, classes or present, ())
    return Targets(label, _positions(texts, label.classes))


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
        problem = f"{found}: measurements rather than classes, but sglr trains classifiers"
        remedy = "name the column of classes, or divide the numbers with --label-edges, such as --label-edges "
        raise UsageError("label_column", str(column.name), problem, f"{remedy}{np.median(known):g}")
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


def _numbers(column: Any, notation: Notation, source: str) -> Numbers:
    values = values_of(column, notation, source)
    if not holds_numbers(values):
        problem = f"{source} has texts in this column, but edges need numbers"
        raise UsageError("label_edges", str(column.name), problem, "leave out --label-edges, or name another label")
    return values


def _between(values: Numbers, edges: Sequence[float]) -> NDArray[np.int64]:
    return np.where(np.isnan(values), UNLABELLED, np.digitize(values, edges)).astype(np.int64)


def _intervals(edges: Sequence[float]) -> list[str]:
    between = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [f"below {edges[0]:g}", *between, f"{edges[-1]:g} and above"]


def _positions(texts: Texts, classes: Sequence[str]) -> NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([UNLABELLED if text is None else numbers[text] for text in texts], dtype=np.int64)
