"""Series for a network that is trained: a file for each, or a long table, with or without their classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sglr.data.classes import refuse_unknown
from sglr.data.new_files import read_new_files
from sglr.data.new_samples import NewSamples
from sglr.data.series.fit import complete_rows, fit_notes, fitted
from sglr.data.series.read import SERIES, FileReader, SeriesReading, SeriesSet, long_table
from sglr.data.series.schema import SeriesSchema
from sglr.data.tables.files import read_table
from sglr.data.tables.find_columns import LABELS


def new_series(path: Path, reading: SeriesReading, schema: SeriesSchema) -> NewSamples:
    """Return series as samples; where the schema drops those with missing values, they are left out.

    Raises
    ------
    UsageError
        If there are none, one can't be read, or channels or values are missing.
    """
    found, labelled = _of_files(path, reading) if path.is_dir() or not reading.id_column else _of_table(path, reading)
    kept = complete_rows(found, schema.missing)
    inputs = torch.from_numpy(fitted(found.values, schema))[torch.from_numpy(kept)]
    ids = tuple(name for name, stays in zip(found.names, kept, strict=True) if stays)
    targets = torch.from_numpy(found.labels[kept]) if labelled else None
    return NewSamples(inputs, ids, targets, (*found.notes, *fit_notes(found, kept, schema)))


def _of_files(root: Path, reading: SeriesReading) -> tuple[SeriesSet, bool]:
    reader = FileReader(reading)
    read, labelled = read_new_files(root, SERIES, reading.classes, reader.read, reading.on_bad)
    rows = np.arange(len(read.values))
    names = [file.name for file in read.files]
    told = (reader.channels, read.labels, tuple(reading.classes), (rows, None, rows))
    return SeriesSet(read.values, names, *told, notes=read.notes), labelled


def _of_table(path: Path, reading: SeriesReading) -> tuple[SeriesSet, bool]:
    frame, notes = read_table(path, reading.form)
    label = reading.label_column or next((name for name in LABELS if name in frame.columns), "")
    read = long_table(frame, reading, [name for name in [label] if name in frame.columns], path)
    rows = np.arange(len(read.values))
    words = read.columns.get(label)
    if words is not None:
        refuse_unknown(set(words.tolist()), reading.classes, str(path))
    labels = np.zeros(len(rows)) if words is None else [list(reading.classes).index(word) for word in words]
    told = (read.channels, np.asarray(labels, dtype=np.int64), tuple(reading.classes), (rows, None, rows))
    return SeriesSet(read.values, read.names, *told, notes=notes), words is not None
