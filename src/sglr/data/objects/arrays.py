"""Read inputs and labels given as arrays, tensors or lists, and turn labels into class numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.data import Inputs, StoredInputs, select
from sglr.core.data_checks import as_class_numbers, as_inputs, as_targets, check_finite
from sglr.core.errors import UsageError
from sglr.data.images.dataset import image_tensor
from sglr.data.objects.options import Options
from sglr.data.split import stratified_split
from sglr.data.stored import ArrayFile, Store, StoredArray, stays_on_disk

MANY = 20  # more distinct labels that mostly occur once are measurements rather than classes
FAR = 100.0  # networks with small initial weights learn badly from inputs larger than this
LOOKED_AT = 256  # stored inputs whose values are looked at for a note
COLOURS = (1, 3)
TEXTS, NUMBERS = (str, bytes, bool, np.bool_), (int, float, np.number)
Labels = NDArray[Any]  # [N] of int64 or str


@dataclass(frozen=True)
class ArrayPart:
    """One part of a data set, with labels that are not yet class numbers.

    Parameters
    ----------
    inputs
        ``[N, ...]``, as in `Samples`.
    labels
        A whole number or a text for every sample ``[N]``.
    names
        The class names, if labels are positions in them; empty if the labels themselves are the names.
    notes
        What the user should know about how it was read, a sentence each.
    """

    inputs: Inputs
    labels: Labels
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels):
            problem = f"there are {len(self.inputs)} inputs"
            raise UsageError("targets", f"{len(self.labels)} labels", problem, "give one for each input")
        if not len(self.labels):
            raise UsageError("inputs", "0 samples", "no samples to train or test with", "give at least one")
        check_finite("inputs", self.inputs)

    def __len__(self) -> int:
        return len(self.labels)

    def divided(self, options: Options) -> tuple[ArrayPart, ArrayPart]:
        """Return the samples for training and those for testing, each class in proportion."""
        rows = stratified_split(self.labels, options.test_fraction, options.split_seed)
        own, held = (
            ArrayPart(select(self.inputs, torch.from_numpy(each)), self.labels[each], self.names, self.notes)
            for each in rows
        )
        return own, held


def read_arrays(inputs: object, labels: object, names: Sequence[str] = (), sample_store: Store = "memory") -> ArrayPart:
    """Return a part of inputs ``[N, ...]`` and labels ``[N]``.

    Bytes in three or four dimensions are pictures, ``[N, height, width]`` with channels first, last or none; they are
    scaled to ±1. Inputs in a file, a NumPy memory map or an ``h5py.Dataset``, may stay there (``sample_store``).

    Raises
    ------
    UsageError
        If they are not such arrays; the message names the row.
    """
    return ArrayPart(_as_inputs(inputs, sample_store), as_labels(labels), tuple(names))


def as_labels(given: object) -> Labels:
    """Return labels ``[N]`` as whole numbers or texts.

    Raises
    ------
    UsageError
        If a label is missing, a fraction, or neither a number nor a text.
    """
    values = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    values = _without_objects(values) if values.dtype.kind == "O" and values.ndim == 1 and len(values) else values
    if values.dtype.kind in "USb" and values.ndim == 1:
        values = np.char.decode(values) if values.dtype.kind == "S" else values.astype(str)
        _refuse_missing(values == "")
        return values
    numbers: Labels = as_class_numbers("targets", as_targets(values)).numpy()
    return numbers


def number_classes(parts: Sequence[ArrayPart]) -> tuple[tuple[str, ...], list[Tensor]]:
    """Return the class names of all parts, sorted unless given, and each part's class numbers.

    Raises
    ------
    UsageError
        If the parts' labels are of different kinds, or are not classes.
    """
    kinds = {part.labels.dtype.kind in "US" for part in parts}
    known = {part.names for part in parts}
    if len(kinds) > 1 or len(known) > 1:
        problem = "parts have labels of different kinds (numbers, texts or different class names)"
        raise UsageError("dataset.targets", "labels", problem, "give all parts the same kind of labels")
    labels = np.concatenate([part.labels for part in parts])
    names = known.pop()
    if names:
        return names, [as_targets(part.labels) for part in parts]
    values, numbers = np.unique(labels, return_inverse=True)
    _refuse_no_classes(values, labels)
    ends = np.cumsum([0, *map(len, parts)])
    return tuple(map(str, values.tolist())), [torch.from_numpy(numbers[a:b]) for a, b in pairwise(ends)]


def notes_on(inputs: Inputs) -> tuple[str, ...]:
    """Return what the user should know about inputs ``[N, ...]`` that are used unscaled, a sentence each."""
    found = []
    some = inputs[:: max(1, len(inputs) // LOOKED_AT)] if isinstance(inputs, StoredInputs) else inputs
    largest = float(some.abs().max()) if inputs.dtype.is_floating_point else 0.0
    if largest > FAR:
        found.append(f"inputs reach {largest:g} and are not scaled: networks learn better from standardised inputs")
    if inputs.dim() == 4 and inputs.shape[3] in COLOURS and inputs.shape[1] not in COLOURS:
        shape = list(inputs.shape[1:])
        found.append(f"inputs {shape} are read as {shape[0]} channels; if the channels are last, move them first")
    return tuple(found)


def _as_inputs(given: object, store: Store) -> Inputs:
    """Return inputs in memory, or those of a file that shall stay there."""
    file = ArrayFile.of(given)
    if file is None or not file.shape or not file.shape[0]:
        if store == "disk":
            remedy = 'give np.load(FILE, mmap_mode="r"), or an h5py.Dataset'
            raise UsageError("sample_store", store, f"inputs given as {type(given).__name__} are in memory", remedy)
        return _as_values(given)
    stored = StoredArray(file, _as_values)
    return stored if stays_on_disk(store, stored.nbytes) else _as_values(given)


def _as_values(given: object) -> Tensor:
    array: Any = given if isinstance(given, Tensor) or _is_sparse(given) else _array(given)
    if _is_sparse(array):
        raise UsageError("inputs", type(given).__name__, "is a sparse matrix", "give X.toarray()")
    if str(getattr(array, "dtype", "")) not in ("uint8", "torch.uint8"):
        return as_inputs(array)
    values = np.asarray(array.cpu() if isinstance(array, Tensor) else array)
    return image_tensor(_channels_last(values)) if values.ndim in (3, 4) else as_inputs(values.astype(np.float32))


def _array(given: object) -> Any:
    try:
        return np.asarray(given)
    except ValueError:
        return given  # `as_inputs` reports what is wrong with it


def _is_sparse(given: object) -> bool:
    return hasattr(given, "toarray")


def _channels_last(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pictures as ``[N, height, width, channels]``, from any position of the channels."""
    if values.ndim == 3:
        return values[..., None]
    first, last = values.shape[1] in COLOURS, values.shape[3] in COLOURS
    if first == last:
        problem = "can't tell which dimension holds the colour channels"
        raise UsageError("inputs", f"shape {list(values.shape)}", problem, "give floats [N, channels, height, width]")
    return np.moveaxis(values, 1, 3) if first else values


def _without_objects(values: Labels) -> Labels:
    """Convert labels that are Python objects to numbers or texts."""
    _refuse_missing(np.array([_is_missing(value) for value in values], dtype=bool))
    kind = next((kind for kind in (TEXTS, NUMBERS) if isinstance(values[:1].tolist()[0], kind)), ())
    row = next((row for row, value in enumerate(values) if not isinstance(value, kind)), None)
    if row is not None:
        problem = (
            f"the label of row {row} is a {type(values[row]).__name__}, but labels must be all numbers or all texts"
        )
        raise UsageError("targets", values[row], problem, "give labels of one type")
    if kind is NUMBERS:
        return np.array(values.tolist())
    return np.array([value.decode() if isinstance(value, bytes) else str(value) for value in values])


def _is_missing(value: Any) -> bool:
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _refuse_missing(missing: NDArray[np.bool_]) -> None:
    rows = np.flatnonzero(missing)
    if len(rows):
        problem = f"row {rows[0]} has no label ({len(rows)} such row(s))"
        raise UsageError("targets", "missing", problem, "fill it in, or remove the row")


def _refuse_no_classes(values: Labels, labels: Labels) -> None:
    if len(values) < 2:
        raise UsageError(
            "dataset.targets",
            values[0],
            "is the only class, but training needs two or more",
            "give samples of other classes",
        )
    # Some use −1 and 1 as two classes; other numbers below 0 usually mean an unknown label.
    if values.dtype.kind == "i" and values[0] < 0 and values.tolist() != [-1, 1]:
        row = int(np.flatnonzero(labels == values[0])[0])
        problem = f"row {row} has a label below 0, which usually means that it is unknown"
        raise UsageError("dataset.targets", values[0], problem, "remove such rows, or give labels as texts")
    if len(values) > max(MANY, len(labels) / 2):
        problem = f"there are {len(values)} different labels in {len(labels)} samples: measurements rather than classes"
        raise UsageError(
            "dataset.targets", f"{values[0]} to {values[-1]}", problem, "give classes, for example ranges of values"
        )
