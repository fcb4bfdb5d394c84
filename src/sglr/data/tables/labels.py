"""The labels of a table: what each column holds, and the target of each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError
from sglr.core.registry import TASKS
from sglr.data.tables.class_labels import find_classes
from sglr.data.tables.column_kinds import Notation, texts_of
from sglr.data.tables.labelled import Labelled, between, numbers_of, positions
from sglr.data.tables.schema import Label, LabelType, refuse_unknown_values

LabelKind = Literal["auto", "classes", "findings", "numbers"]
"""What columns of labels hold; ``"auto"`` finds classes in one column, or findings in several, and else asks."""

KINDS: dict[LabelType, LabelKind] = {"class": "classes", "finding": "findings", "number": "numbers"}
"""The kind of labels by the type that a schema gives each."""

WORDS = ("0", "1"), ("no", "yes"), ("false", "true"), ("absent", "present"), ("negative", "positive"), ("n", "y")
"""Words for absent and present that are understood, in any case."""


def label_kind_of(task: object) -> LabelKind:
    """Return what label columns hold for a task, given by its name or as an object, where the user does not say."""
    if isinstance(task, str):
        return "auto" if task == "auto" else TASKS.load(task).label_kind
    return getattr(task, "label_kind", "auto")


def targets_of(labelled: Sequence[Labelled]) -> NDArray[Any]:
    """Return the target of each row: ``[N]``, or ``[N, L]`` of several columns; int64, or float64 of numbers."""
    return labelled[0].values if len(labelled) == 1 else np.stack([each.values for each in labelled], axis=1)


def gaps_of(column: Any, source: str, numbers: bool) -> NDArray[np.bool_]:
    """Return which rows ``[N]`` of a column of labels have none; among numbers the word ``nan`` is none."""
    texts = texts_of(column, source)
    return np.array([text is None or (numbers and text.lower() == "nan") for text in texts], dtype=bool)


def read_label(column: Any, label: Label, notation: Notation, source: str) -> Labelled:
    """Return the labels of a column of which it is known what it holds.

    Raises
    ------
    UsageError
        If it has another class, or has no numbers although the label is one or has edges.
    """
    if label.type == "number":
        return Labelled(label, numbers_of(column, notation, source, "the label is a number"))
    if label.edges:
        return Labelled(label, between(numbers_of(column, notation, source, "edges need numbers"), label.edges))
    texts = texts_of(column, source)
    present = {text for text in texts if text is not None}
    refuse_unknown_values(sorted(present), label.classes, "class", label.name, source)
    return Labelled(label, positions(texts, label.classes))


def find_labels(
    columns: Sequence[Any],
    kind: LabelKind,
    classes: Sequence[str],
    edges: Sequence[float],
    notation: Notation,
    source: str,
) -> list[Labelled]:
    """Find out what columns of labels hold, and return the labels of each.

    Parameters
    ----------
    columns
        pandas series, one or several.
    kind
        What they hold.
    classes
        The allowed classes in order; empty for all that occur, sorted. Of findings, the words for absent and present.
    edges
        Thresholds that divide a numeric column into classes; empty if the column holds classes.
    notation
        How numbers are formatted in text.
    source
        Where they come from, for messages.

    Raises
    ------
    UsageError
        If a column does not hold that, several columns hold classes, or it is not certain what they hold.
    """
    kind = _kind(columns, kind, classes, source)
    if kind != "classes" and edges:
        raise UsageError("label_edges", ",".join(map(str, edges)), f"labels are {kind}", "leave them out")
    if kind == "numbers":
        return [_number(column, classes, notation, source) for column in columns]
    if kind == "findings":
        found = [_finding(column, classes, source) for column in columns]
        return found if len(found) > 1 else [_alone(found[0])]
    if len(columns) > 1:
        names = ",".join(str(column.name) for column in columns)
        problem = "a sample has one class, and these are several columns"
        raise UsageError("label_column", names, problem, "name one, or give --label-kind findings or numbers")
    return [find_classes(columns[0], classes, edges, notation, source)]


def _kind(columns: Sequence[Any], kind: LabelKind, classes: Sequence[str], source: str) -> LabelKind:
    if kind != "auto":
        return kind
    if len(columns) == 1:
        return "classes"
    odd = [str(column.name) for column in columns if not _words(_present(column, source), classes)]
    if odd:
        problem = f"what these columns of {source} hold is not certain ({odd[0]!r} has other values than 0 and 1)"
        remedy = "give --label-kind numbers for measurements, or --label-kind findings with --classes ABSENT,PRESENT"
        raise UsageError("label_column", ",".join(str(column.name) for column in columns), problem, remedy)
    return "findings"


def _present(column: Any, source: str) -> list[str]:
    return sorted({text for text in texts_of(column, source) if text is not None})


def _words(present: Sequence[str], classes: Sequence[str]) -> tuple[str, str] | None:
    """Return the words for absent and present as the column has them, if it has no others; None else."""
    pairs = [(classes[0], classes[1])] if len(classes) == 2 else WORDS
    for absent, there in pairs:
        own = {text.lower(): text for text in present}
        if present and {*own} <= {absent.lower(), there.lower()} and len(own) == len(present):
            return own.get(absent.lower(), absent), own.get(there.lower(), there)
    return None


def _finding(column: Any, classes: Sequence[str], source: str) -> Labelled:
    name, present = str(column.name), _present(column, source)
    if classes and len(classes) != 2:
        remedy = "give the words for absent and present, such as no,yes"
        raise UsageError("classes", ",".join(classes), "a finding has two", remedy)
    words = _words(present, classes)
    if words is None:
        shown = ", ".join(map(repr, present[:3])) or "no values"
        problem = f"{source} has {shown}{' …' if len(present) > 3 else ''} in this column, and a finding is 0 or 1"
        remedy = "give the words for absent and present with --classes, or name another column"
        raise UsageError("label_column", name, problem, remedy)
    return Labelled(Label(name=name, type="finding", classes=words), positions(texts_of(column, source), words))


def _alone(found: Labelled) -> Labelled:
    """Return one finding as what it is: a label of two classes."""
    return Labelled(Label(name=found.label.name, classes=found.label.classes), found.values)


def _number(column: Any, classes: Sequence[str], notation: Notation, source: str) -> Labelled:
    if classes:
        raise UsageError("classes", ",".join(classes), "labels are numbers", "leave them out")
    values = numbers_of(column, notation, source, "--label-kind numbers needs numbers")
    return Labelled(Label(name=str(column.name), type="number"), values)


def with_units(labelled: Labelled, train: NDArray[np.bool_], missing: Literal["error", "drop"]) -> Label:
    """Return the label as a schema has it: how missing ones are treated, and a number's mean and std in ``train``."""
    known: dict[str, Any] = {"missing": missing}
    if labelled.label.type == "number":
        own = labelled.values[train]
        known |= {"mean": float(own.mean()), "std": float(own.std()) or 1.0}
    return labelled.label.model_copy(update=known)
