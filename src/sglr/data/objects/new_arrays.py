"""Arrays, tables and data sets given as objects, for a network that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sglr.core.data import Dataset, Samples
from sglr.core.data_checks import as_targets
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.data.classes import refuse_unknown
from sglr.data.images.new_pictures import as_trained
from sglr.data.new_samples import NewSamples, TrainedOn, numbered
from sglr.data.objects.arrays import ArrayPart, as_values, channels_last
from sglr.data.objects.frames import is_frame
from sglr.data.objects.options import Options
from sglr.data.objects.read import read_part
from sglr.data.objects.several import is_several, read_several
from sglr.data.objects.targets import as_labels
from sglr.data.schema import read_schema
from sglr.data.tables.column_kinds import Notation
from sglr.data.tables.new_rows import new_rows
from sglr.data.tables.schema import Schema
from sglr.splitting.input_layout import InputLayout

FORMS = "give an array of inputs, (X, y), a DataFrame, a torch data set, or a path"


def new_objects(given: Any, trained: TrainedOn, id_column: str = "") -> NewSamples:
    """Return samples given as an object.

    Parameters
    ----------
    given
        Inputs as an array, tensor or DataFrame; ``(X, y)``; a torch or Hugging Face data set of inputs with labels;
        `Samples`; or a `Dataset`, of which the test samples are taken.
    trained
        What the network was trained on.
    id_column
        The column that names the rows of a DataFrame.

    Raises
    ------
    UsageError
        If it is none of these, or not what the network reads.
    """
    if isinstance(given, Dataset):
        return NewSamples.of_test(given, trained, "the data set")
    if isinstance(given, Samples):
        return NewSamples.of_samples(given)
    if is_frame(given):
        return _rows(given, trained, id_column)
    layout = InputLayout.of(trained.encoding)
    if layout is not None:
        return _several(given, trained, layout)
    if isinstance(given, tuple) and len(given) == 2:
        return _pair(given, trained, id_column)
    if isinstance(given, np.ndarray | Tensor) or (isinstance(given, list) and given):
        return new_arrays(given, None, trained, "the array")
    if not hasattr(given, "__getitem__") or isinstance(given, list | tuple | dict):
        raise UsageError("data", type(given).__name__, "no data that can be read", FORMS)
    part = read_part(given, "data", Options())
    if not isinstance(part, ArrayPart):
        return _rows(part.table, trained, id_column)
    targets = _numbered(part.labels, part.names, trained.targets, "the data set")
    return NewSamples(part.inputs, numbered(len(part)), targets, part.notes)


def new_arrays(inputs: Any, targets: Any, trained: TrainedOn, source: str, notes: Sequence[str] = ()) -> NewSamples:
    """Return arrays of inputs ``[N, ...]`` and of targets, or None, as samples.

    Bytes are pixels, as in training.

    Raises
    ------
    UsageError
        If they are not what the network was trained on.
    """
    layout = InputLayout.of(trained.encoding)
    values = _inputs(inputs, trained) if layout is None else read_several(inputs, layout)[0]
    numbers = (
        None if targets is None else _numbered(_labels(_read(targets), trained.targets), (), trained.targets, source)
    )
    if numbers is not None and len(numbers) != len(values):
        raise UsageError("targets", len(numbers), f"there are {len(values)} inputs", "give one for each input")
    return NewSamples(values, numbered(len(values)), numbers, tuple(notes))


def _several(given: Any, trained: TrainedOn, layout: InputLayout) -> NewSamples:
    """Return samples of several inputs: a dict or a tuple of them, a pair of such with targets, or a data set."""
    pair = isinstance(given, tuple) and len(given) == 2 and is_several(given[0])
    if pair or (is_several(given) and not (isinstance(given, tuple) and layout.named)):
        inputs, targets = given if pair else (given, None)
        return new_arrays(inputs, targets, trained, "the arrays")
    if isinstance(given, np.ndarray | Tensor | list | tuple) or is_frame(given):
        problem = f"each sample has several inputs: {layout}"
        raise UsageError("data", type(given).__name__, problem, "give a dict of arrays by these names")
    part = read_part(given, "data", Options())
    if not isinstance(part, ArrayPart) or part.layout != layout:
        found = part.layout if isinstance(part, ArrayPart) else None
        problem = f"the network was trained on {layout}"
        raise UsageError("data", str(found or type(given).__name__), problem, "give samples with these inputs")
    targets = _numbered(part.labels, part.names, trained.targets, "the data set")
    return NewSamples(part.inputs, numbered(len(part)), targets, part.notes)


def _rows(frame: Any, trained: TrainedOn, id_column: str) -> NewSamples:
    if trained.encoding.get("kind") != "table":
        return new_arrays(frame.to_numpy(), None, trained, "the table")
    schema = read_schema(dict(trained.encoding), Schema)
    return new_rows(frame, schema, Notation(), "the table", id_column)


def _pair(given: tuple[Any, Any], trained: TrainedOn, id_column: str) -> NewSamples:
    inputs, labels = given
    if not is_frame(inputs) or trained.encoding.get("kind") != "table":
        values = inputs.to_numpy() if is_frame(inputs) else inputs
        return new_arrays(values, labels, trained, "the array")
    names = [label.name for label in read_schema(dict(trained.encoding), Schema).all_labels]
    columns = np.asarray(labels).reshape(len(inputs), -1)
    if columns.shape[1] != len(names):
        problem = f"the network has {len(names)} target(s): {', '.join(names)}"
        raise UsageError("targets", f"{columns.shape[1]} columns", problem, "give a column for each")
    return _rows(inputs.assign(**dict(zip(names, columns.T, strict=True))), trained, id_column)


def _inputs(given: Any, trained: TrainedOn) -> Tensor:
    """Return inputs as the network's: pixels scaled as in training, a single channel added where it lacks."""
    array = _read(given)
    _refuse_other_pixels(array, trained)
    if (
        trained.encoding.get("kind") == "image"
        and str(array.dtype) in ("uint8", "torch.uint8")
        and array.ndim in (3, 4)
    ):
        return as_trained(channels_last(np.asarray(array)), trained)
    values = as_values(array)
    if values.shape[1:] == trained.input_shape[1:] and trained.input_shape[:1] == (1,):
        values = values.unsqueeze(1)
    wanted = getattr(torch, trained.dtype)
    return values.to(wanted) if wanted.is_floating_point else values


def _refuse_other_pixels(array: Any, trained: TrainedOn) -> None:
    """Refuse bytes where training values were no pixels, and other whole numbers where they were: scales differ."""
    stated, kind = trained.encoding.get("pixels"), str(array.dtype).removeprefix("torch.")
    if stated is False and kind == "uint8" and array.ndim > 2:
        problem = "bytes are scaled to ±1 as pixels, and the network was trained on other values"
        raise UsageError("inputs", kind, problem, "convert them as the training's values were, to the same type")
    if (stated or trained.encoding.get("kind") == "image") and kind != "uint8" and "int" in kind:
        problem = "the network was trained on pixels, and whole numbers other than bytes have no scale"
        raise UsageError("inputs", kind, problem, "give bytes (uint8), or floats as the network reads them")


def _read(given: Any) -> Any:
    """Return an array in memory of one in a file."""
    return (
        given[()]
        if hasattr(given, "file") and hasattr(given, "id")
        else given
        if isinstance(given, Tensor)
        else np.asarray(given)
    )


def _labels(given: Any, wanted: Targets) -> Any:
    if wanted.classes and not wanted.are_classes:
        return given
    return as_labels(given, "classes" if wanted.are_classes else "numbers")


def _numbered(labels: Any, names: Sequence[str], wanted: Targets, source: str) -> Tensor:
    """Return labels as the run numbers them."""
    if wanted.are_classes:
        words = _named(labels, names, source) if len(names) else [str(label) for label in labels.tolist()]
        refuse_unknown(sorted(set(words)), wanted.names, source)
        places = {name: number for number, name in enumerate(wanted.names)}
        return torch.tensor([places[word] for word in words])
    found = as_targets(labels)
    if tuple(found.shape[1:]) != wanted.shape:
        problem = f"its targets have shape {list(found.shape[1:])}; those of the run are {wanted.describe()}"
        raise UsageError("targets", source, problem, "give targets of that kind")
    return found.to(wanted.torch_dtype)


def _named(labels: Any, names: Sequence[str], source: str) -> list[str]:
    """Return the names of classes given by their places."""
    for row, label in enumerate(labels):
        if not 0 <= label < len(names):
            problem = f"row {row} of {source} has a label that is none of its {len(names)} classes"
            raise UsageError("targets", int(label), problem, f"give 0 to {len(names) - 1}, or remove the row")
    return [names[label] for label in labels]
