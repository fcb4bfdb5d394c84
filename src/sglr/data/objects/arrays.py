"""Read inputs and labels given as arrays, tensors or lists, and turn labels into class numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.data import Inputs, StoredInputs, select
from sglr.core.data_checks import as_inputs, check_finite
from sglr.core.errors import UsageError
from sglr.data.images.dataset import image_tensor
from sglr.data.objects.options import Options
from sglr.data.objects.targets import Kind, Labels, as_labels
from sglr.data.split import stratified_split
from sglr.data.stored import ArrayFile, Store, StoredArray, stays_on_disk
from sglr.splitting.input_layout import InputLayout

FAR = 100.0  # networks with small initial weights learn badly from inputs larger than this
LOOKED_AT = 256  # stored inputs whose values are looked at for a note
COLOURS = (1, 3)


@dataclass(frozen=True)
class ArrayPart:
    """One part of a data set, with labels that are not yet numbered.

    Parameters
    ----------
    inputs
        ``[N, ...]``, as in `Samples`.
    labels
        As `sglr.data.objects.targets.as_labels` returns them.
    names
        The class names, if labels are positions in them; empty if the labels themselves are the names.
    notes
        What the user should know about how it was read, a sentence each.
    layout
        What a row of inputs holds, where samples have several; else None.
    """

    inputs: Inputs
    labels: Labels
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    layout: InputLayout | None = None

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels):
            problem = f"there are {len(self.inputs)} inputs"
            raise UsageError("targets", f"{len(self.labels)} labels", problem, "give one for each input")
        if not len(self.labels):
            raise UsageError("inputs", "0 samples", "no samples to train or test with", "give at least one")
        if self.labels.ndim > 2:
            object.__setattr__(self, "labels", _same_size(self.labels, tuple(self.inputs.shape)))
        check_finite("inputs", self.inputs)

    def __len__(self) -> int:
        return len(self.labels)

    def divided(self, options: Options) -> tuple[ArrayPart, ArrayPart]:
        """Return the samples for training and those for testing, each class in proportion."""
        rows = stratified_split(self.labels, options.test_fraction, options.split_seed)
        own, held = (
            replace(self, inputs=select(self.inputs, torch.from_numpy(each)), labels=self.labels[each]) for each in rows
        )
        return own, held


def read_arrays(
    inputs: object,
    labels: object,
    names: Sequence[str] = (),
    sample_store: Store = "memory",
    label_kind: Kind = "auto",
) -> ArrayPart:
    """Return a part of inputs ``[N, ...]`` and labels ``[N]`` or ``[N, ...]``.

    Bytes in three to five dimensions are pictures ``[N, height, width]`` or volumes ``[N, depth, height, width]``, with
    channels first, last or none; they are scaled to ±1. Inputs in a file, a NumPy memory map or an ``h5py.Dataset``,
    may stay there (``sample_store``).

    Raises
    ------
    UsageError
        If they are not such arrays; the message names the row.
    """
    return ArrayPart(_as_inputs(inputs, sample_store), as_labels(labels, label_kind), tuple(names))


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
        return as_values(given)
    stored = StoredArray(file, as_values)
    return stored if stays_on_disk(store, stored.nbytes) else as_values(given)


def as_values(given: object) -> Tensor:
    """Return inputs in memory ``[N, ...]``; bytes in three to five dimensions are pixels, scaled to ±1.

    Raises
    ------
    UsageError
        If it is no such array.
    """
    array: Any = given if isinstance(given, Tensor) or is_sparse(given) else _array(given)
    if is_sparse(array):
        raise UsageError("inputs", type(given).__name__, "is a sparse matrix", "give X.toarray()")
    if str(getattr(array, "dtype", "")) not in ("uint8", "torch.uint8"):
        return as_inputs(array)
    values = np.asarray(array.cpu() if isinstance(array, Tensor) else array)
    if values.ndim == 5 or (values.ndim == 4 and values.shape[1] not in COLOURS and values.shape[3] not in COLOURS):
        return torch.from_numpy(_channels_first(values)).float() / 127.5 - 1
    return image_tensor(channels_last(values)) if values.ndim in (3, 4) else as_inputs(values.astype(np.float32))


def _array(given: object) -> Any:
    try:
        return np.asarray(given)
    except ValueError:
        return given  # `as_inputs` reports what is wrong with it


def is_sparse(given: object) -> bool:
    """Say whether it is a sparse matrix."""
    return hasattr(given, "toarray")


def channels_last(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pictures as ``[N, height, width, channels]``, from any position of the channels."""
    if values.ndim == 3:
        return values[..., None]
    first, last = values.shape[1] in COLOURS, values.shape[3] in COLOURS
    if first == last:
        problem = "can't tell which dimension holds the colour channels"
        raise UsageError("inputs", f"shape {list(values.shape)}", problem, "give floats [N, channels, height, width]")
    return np.moveaxis(values, 1, 3) if first else values


def _channels_first(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return volumes as ``[N, channels, depth, height, width]``, from channels first, last or none."""
    if values.ndim == 4:
        return values[:, None]
    first, last = values.shape[1] in COLOURS, values.shape[4] in COLOURS
    if first == last:
        problem = "can't tell which dimension holds the channels"
        raise UsageError(
            "inputs", f"shape {list(values.shape)}", problem, "give floats [N, channels, depth, height, width]"
        )
    return np.ascontiguousarray(np.moveaxis(values, 4, 1) if last else values)


def _same_size(masks: Labels, inputs: tuple[int, ...]) -> Labels:
    """Return masks ``[N, height, width, ...]``, without a channel; refuse those of another size than the inputs."""
    size = inputs[2:]
    for axis in (1, masks.ndim - 1):
        if masks.ndim == len(size) + 2 and masks.shape[axis] == 1:
            masks = masks.squeeze(axis)
    if masks.shape[1:] != size:
        problem = (
            f"inputs are {' x '.join(map(str, size)) or 'no pictures'}, and a mask has a class for each of their pixels"
        )
        raise UsageError("targets", f"masks of shape {list(masks.shape[1:])}", problem, "give masks of that size")
    return masks
