"""Texts for a network that is trained: a file or a row for each, with or without their classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sglr.core.errors import UsageError
from sglr.data.classes import refuse_unknown
from sglr.data.new_files import read_new_files
from sglr.data.new_samples import NewSamples, numbered
from sglr.data.tables.column_kinds import texts_of
from sglr.data.text.documents import TEXTS, TextReading, label_column_of, read_rows, text_column, text_of
from sglr.data.text.schema import TextSchema
from sglr.data.text.sequences import padded, windows
from sglr.data.text.tokenizers import Tokenizer


class Texts(NamedTuple):
    """Texts as they are read."""

    ids: tuple[str, ...]
    values: list[str]
    labels: list[int] | None
    notes: Sequence[str]


def new_texts(path: Path, reading: TextReading, schema: TextSchema, tokenizer: Tokenizer, id_column: str) -> NewSamples:
    """Return texts as samples: of classes, or sequences whose targets are the next tokens.

    Raises
    ------
    UsageError
        If there are no texts, one can't be read, or the class of one is unknown.
    """
    found = _of_files(path, reading) if path.is_dir() or TEXTS.has(path.name) else _of_rows(path, reading, id_column)
    tokens = tokenizer.encode(found.values)
    if schema.classes:
        inputs = torch.from_numpy(padded(tokens, schema.length, schema.padding))
        targets = None if found.labels is None else torch.tensor(found.labels)
        return NewSamples(inputs, found.ids, targets, tuple(found.notes))
    inputs_, wanted, origin = windows(tokens, schema.length, schema.padding)
    count = np.bincount(origin, minlength=len(found.ids)).tolist()
    ids = tuple(f"{name}:{place + 1}" for name, parts in zip(found.ids, count, strict=True) for place in range(parts))
    return NewSamples(torch.from_numpy(inputs_), ids, torch.from_numpy(wanted), tuple(found.notes))


def _of_files(path: Path, reading: TextReading) -> Texts:
    read, labelled = read_new_files(path, TEXTS, reading.classes, text_of, reading.on_bad)
    ids = tuple(file.name for file in read.files)
    return Texts(ids, read.values, read.labels.tolist() if labelled else None, read.notes)


def _of_rows(path: Path, reading: TextReading, id_column: str) -> Texts:
    frame, notes = read_rows(path, reading.form)
    names = list(map(str, frame.columns))
    label = label_column_of(names, reading) if reading.classes else ""
    column = text_column(
        [name for name in names if name != id_column or name == reading.text_column], label, reading, path
    )
    if id_column and id_column not in names:
        raise UsageError("id_column", id_column, f"{path} lacks this column", f"columns: {', '.join(names)}")
    missing = frame[column].isna().to_numpy() | frame[column].astype(str).str.strip().eq("").to_numpy(dtype=bool)
    if missing.any():
        problem = f"{path} has {int(missing.sum())} row(s) without a text, the first is row {int(missing.argmax()) + 1}"
        raise UsageError("column", column, problem, "fill them in, or remove these rows")
    ids = tuple(map(str, frame[id_column])) if id_column else numbered(len(frame))
    labels = _labels(texts_of(frame[label], str(path)), reading.classes, path) if label else None
    return Texts(ids, frame[column].astype(str).tolist(), labels, notes)


def _labels(words: NDArray[np.object_], classes: Sequence[str], path: Path) -> list[int] | None:
    """Return the classes' numbers; None if some rows have no class."""
    known = [word for word in words if word is not None]
    refuse_unknown(known, classes, str(path))
    return [list(classes).index(word) for word in known] if len(known) == len(words) else None
