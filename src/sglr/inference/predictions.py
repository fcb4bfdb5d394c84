"""Predictions for new samples: a column for each thing that the task tells, written as a table or as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.data import Inputs
from sglr.core.errors import UsageError, listed
from sglr.core.task import Targets, Task
from sglr.data.new_samples import NewSamples
from sglr.storage.files import write_bytes
from sglr.system.extras import require

if TYPE_CHECKING:
    from pandas import DataFrame

ENDINGS = (".parquet", ".csv", ".jsonl", ".npz")
"""Endings of the files that predictions are written to."""

SHOWN = 10
"""Rows of a notebook's table."""


@dataclass(frozen=True)
class Predictions:
    """What a network tells of new samples.

    Parameters
    ----------
    ids
        What each sample is called, N of them.
    columns
        The values by name, ``[N]`` or ``[N, ...]`` each.
    whose
        Whose lower layers answered, in words.
    notes
        What the user should know, a sentence each.
    """

    ids: tuple[str, ...]
    columns: Mapping[str, NDArray[Any]]
    whose: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return the column of this name."""
        return self.columns[name]

    @property
    def flat(self) -> list[str]:
        """The names of the columns with one value for each sample."""
        return [name for name, values in self.columns.items() if values.ndim == 1]

    def to_frame(self) -> DataFrame:
        """Return a table with the column ``id``; several values of one sample are a list."""
        require("data", "predictions", "a table", "pandas")
        import pandas as pd

        columns = {name: self._listed(values) for name, values in self.columns.items()}
        return pd.DataFrame({"id": list(self.ids), **columns})

    def _listed(self, values: NDArray[Any]) -> Any:
        return values if values.ndim == 1 else [row.tolist() for row in values]

    def write(self, path: str | Path) -> Path:
        """Write a table (.parquet, .csv or .jsonl) or arrays (.npz), whole or not at all; return the path.

        Raises
        ------
        UsageError
            If the ending is another, or a .csv can't hold several values of one sample.
        """
        path = check_ending(Path(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        _WRITERS[path.suffix.lower()](self, path)
        return path

    def _repr_html_(self) -> str:
        shown = Predictions(self.ids[:SHOWN], {name: self.columns[name][:SHOWN] for name in self.flat})
        heads = "".join(f"<th>{escape(name)}</th>" for name in ("id", *self.flat))
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in shown._cells())
        return f"<table><tr>{heads}</tr>{rows}</table><p>{len(self):,} predictions ({escape(self.whose)})</p>"

    def _cells(self) -> list[list[str]]:
        columns = [[_cell(value) for value in self.columns[name]] for name in self.flat]
        return [[own, *values] for own, *values in zip(self.ids, *columns, strict=True)]


def check_columns(predictions: Predictions, path: Path | None) -> None:
    """Refuse a .csv, or lines of one (None), that can't hold all columns.

    Raises
    ------
    UsageError
        If a column has several values for each sample.
    """
    several = [name for name in predictions.columns if name not in predictions.flat]
    if several and (path is None or path.suffix.lower() == ".csv"):
        problem = f"CSV holds one value in a cell, and {listed(several, 3)} has several for each sample"
        raise UsageError("out", path or "none", problem, "give a name that ends with .npz, .parquet or .jsonl")


def check_ending(path: Path) -> Path:
    """Return the path of a file of predictions.

    Raises
    ------
    UsageError
        If no predictions are written to files with this ending, or a package for it is missing.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError("out", path, "has another ending", f"give a name that ends with {', '.join(ENDINGS)}")
    if path.is_dir():
        raise UsageError("out", path, "is a folder", "give the name of a file")
    if path.suffix.lower() != ".npz":
        require("data", "out", path, "pandas", *(("pyarrow",) if path.suffix.lower() == ".parquet" else ()))
    return path


class Network(Protocol):
    """What predicts: a trained network, in one place or between a site and a server."""

    @property
    def task(self) -> Task:
        """What it learned."""
        ...

    @property
    def targets(self) -> Targets:
        """What its targets are."""
        ...

    @property
    def whose(self) -> str:
        """Whose lower layers answer, in words."""
        ...

    def read(self, data: Any, **options: Any) -> NewSamples:
        """Return new data as inputs of the network."""
        ...

    def batches(self, inputs: Inputs, batch_size: int | None = None) -> Iterator[Tensor]:
        """Yield the outputs ``[n, m, ...]`` of each answering client for m samples at a time."""
        ...


def predict(
    network: Network,
    data: Any,
    batch_size: int | None = None,
    *,
    check: Callable[[Predictions], None] = lambda _: None,
    **options: Any,
) -> Predictions:
    """Return what a network predicts for new samples.

    Parameters
    ----------
    network
        The network.
    data
        The samples, in any form of data that trains, with or without targets; see `sglr.data.read_new.read_new`.
    batch_size
        Samples at a time; by default as many as fit a processor's cache.
    check
        Called with the first predictions, before there are all: it may raise.
    options
        How files are read, such as ``separator`` and ``id_column``.

    Raises
    ------
    UsageError
        If the data can't be read, or don't fit the network, or ``batch_size`` is below 1.
    """
    check_batch_size(batch_size)
    samples = network.read(data, **options)
    parts: list[dict[str, Any]] = []
    for found in network.batches(samples.inputs, batch_size):
        parts.append(network.task.predictions(found.mean(0), network.targets))
        if len(parts) == 1:
            check(_told(parts, samples, network))
    return _told(parts, samples, network)


def _told(parts: Sequence[Mapping[str, Any]], samples: NewSamples, network: Network) -> Predictions:
    """Return the predictions for as many of the samples as there are, from the first on."""
    columns = {name: _joined([part[name] for part in parts]) for name in parts[0]}
    number = len(next(iter(columns.values())))
    if samples.targets is not None:
        wanted, names = samples.targets[:number], network.targets.names
        classes = network.targets.are_classes
        columns["target"] = np.array([names[one] for one in wanted.tolist()], object) if classes else wanted.numpy()
    return Predictions(samples.ids[:number], columns, network.whose, samples.notes)


def check_batch_size(batch_size: int | None) -> None:
    """Refuse fewer than one sample at a time.

    Raises
    ------
    UsageError
        If it is below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError("batch_size", batch_size, "there is no sample in a batch", "give 1 or more")


def _joined(parts: Sequence[Any]) -> NDArray[Any]:
    if isinstance(parts[0], list):
        return np.array([value for part in parts for value in part], dtype=object)
    return np.concatenate([part.numpy() for part in parts])


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _parquet(predictions: Predictions, path: Path) -> None:
    write_bytes(path, predictions.to_frame().to_parquet(index=False))


def _csv(predictions: Predictions, path: Path) -> None:
    check_columns(predictions, path)
    write_bytes(path, predictions.to_frame().to_csv(index=False).encode())


def _jsonl(predictions: Predictions, path: Path) -> None:
    write_bytes(path, predictions.to_frame().to_json(orient="records", lines=True, double_precision=9).encode())


def _npz(predictions: Predictions, path: Path) -> None:
    from io import BytesIO

    plain: dict[str, Any] = {
        name: values.astype(str) if values.dtype == object else values for name, values in predictions.columns.items()
    }
    file = BytesIO()
    np.savez_compressed(file, id=np.array(predictions.ids), **plain)
    write_bytes(path, file.getvalue())


_WRITERS: Mapping[str, Callable[[Predictions, Path], None]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".npz": _npz,
}
