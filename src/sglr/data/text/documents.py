"""Texts with their labels: a column of a table, a folder per class, or a folder of documents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError, unknown
from sglr.data.class_folders import FileKind, Files, SampleFile, find_files, find_parts, sample_file, subfolders, walk
from sglr.data.file_samples import OnBad, Rows, read_files
from sglr.data.split import stratified_split
from sglr.data.tables.class_labels import find_classes
from sglr.data.tables.column_kinds import Notation, texts_of
from sglr.data.tables.files import Format, read_table
from sglr.data.tables.find_columns import LABELS
from sglr.system.extras import require

if TYPE_CHECKING:
    from pandas import DataFrame

TEXTS = FileKind("texts", (".txt", ".text", ".md"))
"""Files of texts."""

JSON_LINES = (".jsonl", ".ndjson")

FEW = 10
"""With fewer documents than that, the end of each is the test part: whole ones would be too unequal."""

DOCUMENT = "document"
"""The column of the documents that sequences come from."""


@dataclass(frozen=True)
class Documents:
    """Texts, divided into parts.

    Parameters
    ----------
    texts
        The texts.
    labels
        The class of each ``[N]``; None if each token's target is the next one.
    classes
        Their names.
    rows
        Rows for training, validation (or None) and testing.
    columns
        Further columns, as in `sglr.core.data.Samples`.
    whole
        Whether a text is a whole document, or a part of one may be in another part of the data.
    notes
        What the user should know, a sentence each.
    """

    texts: list[str]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    rows: tuple[Rows, Rows | None, Rows]
    columns: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)
    whole: bool = True
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class TextReading:
    """How texts are found and divided; the parameters of ``text:`` explain it."""

    classes: Sequence[str]
    language: bool
    text_column: str
    label_column: str
    group: str
    group_columns: Sequence[str]
    missing: Literal["error", "drop"]
    form: Format
    on_bad: OnBad
    fraction: float
    seed: int


def read_documents(path: Path, reading: TextReading) -> Documents:
    """Read texts from a table, a file or a folder.

    Raises
    ------
    UsageError
        If there are none, one can't be read, or what the parameters name is not there.
    """
    if path.is_dir():
        by_class = not reading.language and _has_class_folders(path)
        return _of_class_folders(path, reading) if by_class else _of_files(path, reading)
    if TEXTS.has(path.name):
        return _of_files(path, reading)
    return _of_table(path, reading)


def _has_class_folders(root: Path) -> bool:
    return bool(subfolders(find_parts(root, TEXTS).train))


def _of_class_folders(root: Path, reading: TextReading) -> Documents:
    found = find_files(root, TEXTS, reading.classes)
    read = read_files(found, text_of, reading.on_bad)
    rows = read.divided(reading.fraction, reading.seed, reading.group)
    return Documents(read.values, read.labels, tuple(found.classes), rows, read.columns, notes=read.notes)


def _of_files(path: Path, reading: TextReading) -> Documents:
    """Read a corpus without classes."""
    if path.is_dir():
        parts = find_parts(path, TEXTS)
        own = [None if part is None else _listed(part) for part in parts[:3]]
    else:
        parts, own = find_parts(path.parent, TEXTS)._replace(train=path.parent), [[SampleFile(path.name, path, 0)]]
        own += [None, None]
    train, apart, test = own
    if not train:
        raise UsageError("folder", path, "has no texts", f"put some there ({' '.join(TEXTS.endings)})")
    read = read_files(Files(train, apart, test, ["text"], parts, []), text_of, reading.on_bad)
    names = np.array([file.name for file in read.files], dtype=object)
    columns = {DOCUMENT: names, **read.columns}
    if read.has_test or len(read.values) >= FEW or reading.group:
        rows = read.divided(reading.fraction, reading.seed, reading.group)
        return Documents(read.values, None, (), rows, columns, notes=read.notes)
    return _ends_held_out(Documents(read.values, None, (), (np.arange(len(names)),) * 3, columns), reading, read.notes)


def _ends_held_out(found: Documents, reading: TextReading, notes: Sequence[str]) -> Documents:
    """Divide each of a few documents: its end is for testing."""
    if not 0 < reading.fraction < 1:
        remedy = "give a fraction between 0 and 1, such as 0.2"
        raise UsageError("test_fraction", reading.fraction, "leaves the training or the test part empty", remedy)
    ends = [int(len(text) * (1 - reading.fraction)) for text in found.texts]
    texts = [text[:end] for text, end in zip(found.texts, ends, strict=True)]
    texts += [text[end:] for text, end in zip(found.texts, ends, strict=True)]
    number = len(found.texts)
    columns = {name: np.concatenate([values, values]) for name, values in found.columns.items()}
    told = f"the test part is the last {reading.fraction:.0%} of each document, because there are fewer than {FEW}"
    rows = np.arange(number), None, np.arange(number, 2 * number)
    return Documents(texts, None, (), rows, columns, whole=False, notes=[*notes, told])


def _listed(root: Path) -> list[SampleFile]:
    return [sample_file(path, root, root) for path in walk(root) if TEXTS.has(path.name)]


def text_of(file: SampleFile) -> str:
    """Return the text of a file; any error says that it can't be read, and why."""
    text = file.file.read_text(encoding="utf-8-sig")
    if not text.strip():
        raise ValueError("it is empty")
    return text


def _of_table(path: Path, reading: TextReading) -> Documents:
    frame, notes = read_rows(path, reading.form)
    names = list(map(str, frame.columns))
    label = "" if reading.language else label_column_of(names, reading)
    column = text_column(names, label, reading, path)
    aside = {name: texts_of(frame[name], str(path)) for name in _aside(reading, names)}
    missing = frame[[column, *filter(None, [label])]].isna().any(axis=1)
    gaps = (missing | frame[column].astype(str).str.strip().eq("")).to_numpy(dtype=bool)
    frame, aside, further = _without_gaps(frame, aside, gaps, reading, column, path)
    found = find_classes(frame[label], reading.classes, (), Notation(), str(path)) if label else None
    labels = None if found is None else found.values
    if found is None:
        aside[DOCUMENT] = np.array([f"row {row + 1}" for row in range(len(frame))], dtype=object)
    groups = aside[reading.group] if reading.group else None
    balanced = np.zeros(len(frame)) if labels is None else labels
    train, test = stratified_split(balanced, reading.fraction, reading.seed, groups)
    texts, classes = frame[column].astype(str).tolist(), () if found is None else found.label.classes
    whole = len(texts) >= FEW
    return Documents(texts, labels, classes, (train, None, test), aside, whole, [*notes, *further])


def read_rows(path: Path, form: Format) -> tuple[DataFrame, list[str]]:
    """Return the rows of a table or of JSON lines, and notes; see `sglr.data.tables.files.read_table`."""
    return _json_lines(path) if path.name.lower().endswith(JSON_LINES) else read_table(path, form)


def _json_lines(path: Path) -> tuple[DataFrame, list[str]]:
    require("data", "text", path, "pandas")
    import pandas as pd

    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        rows = [_object(line) for line in lines if line.strip()]
    except (ValueError, OSError, RecursionError) as error:
        problem = f"cannot be read as JSON lines ({error})"
        raise UsageError("text", path, problem, 'give a file with an object in each line: {"text": "…"}') from error
    frame = pd.DataFrame(rows)
    if frame.empty:
        raise UsageError("text", path, "has no rows", "give a file with rows")
    return frame, []


def _object(line: str) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("a line is no object")  # noqa: TRY004 - as json reports what is wrong
    return found


def label_column_of(names: Sequence[str], reading: TextReading) -> str:
    """Return the column of classes: the one that is named, else one with a usual name; empty if there is none."""
    if reading.label_column and reading.label_column not in names:
        raise unknown("label_column", reading.label_column, names)
    return reading.label_column or next((name for name in LABELS if name in names), "")


def text_column(names: Sequence[str], label: str, reading: TextReading, path: Path) -> str:
    """Return the column of texts: the one that is named, else ``text``, else the only one beside the labels'.

    Raises
    ------
    UsageError
        If there is none.
    """
    if reading.text_column and reading.text_column not in names:
        raise unknown("text_column", reading.text_column, names)
    others = [name for name in names if name not in (label, *_aside(reading, names))]
    if reading.text_column or "text" in others or len(others) == 1:
        return reading.text_column or ("text" if "text" in others else others[0])
    raise UsageError("text_column", "(none)", f"{path} has no column called text", f"name one of {', '.join(others)}")


def _aside(reading: TextReading, names: Sequence[str]) -> list[str]:
    aside = list(dict.fromkeys([*reading.group_columns, *filter(None, [reading.group])]))
    for name in aside:
        if name not in names:
            raise unknown("group" if name == reading.group else "group_columns", name, names)
    return aside


def _without_gaps(
    frame: DataFrame,
    aside: dict[str, NDArray[Any]],
    gaps: NDArray[np.bool_],
    reading: TextReading,
    column: str,
    path: Path,
) -> tuple[DataFrame, dict[str, NDArray[Any]], list[str]]:
    if not gaps.any():
        return frame, aside, []
    if reading.missing != "drop":
        problem = f"{path} has {int(gaps.sum())} row(s) without a text or a label, the first is row {gaps.argmax() + 1}"
        raise UsageError("column", column, problem, "fill them in, or give --missing drop to leave these rows out")
    if gaps.all():
        raise UsageError("column", column, f"no row of {path} has a text and a label", "name other columns")
    note = f"{int(gaps.sum())} of {len(gaps)} rows are left out, because the text or the label is missing"
    return frame[~gaps].reset_index(drop=True), {name: each[~gaps] for name, each in aside.items()}, [note]
