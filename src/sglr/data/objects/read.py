"""Read data sets given as objects: arrays, torch data sets, tables, Hugging Face data sets, or one per client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from sglr.core.data import Dataset, Inputs, Samples, StoredInputs
from sglr.core.errors import UsageError
from sglr.data.objects.arrays import ArrayPart, notes_on, read_arrays
from sglr.data.objects.frames import TablePart, frames_dataset, is_frame, labelled
from sglr.data.objects.items import read_items
from sglr.data.objects.options import Options
from sglr.data.objects.owners import owner_names
from sglr.data.objects.several import is_several, several_part
from sglr.data.objects.targets import settle_targets
from sglr.data.stored import JoinedInputs
from sglr.data.tables.labels import label_kind_of
from sglr.splitting.input_layout import KEY

PARTS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
}
OWNER = "client"
"""The column with the client of each sample."""

FORMS = "give (X, y), a torch data set, a DataFrame, a Hugging Face data set or a list with one of these per client"


class Indexed(Protocol):
    """An object with a length and items by index or name: tuples, lists, mappings, tables, torch data sets."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


DataLike = Dataset | Samples | Indexed
"""A `Dataset`, or an object that `read_objects` turns into one."""


def settle_dataset(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which a data set given as an object is a `Dataset`.

    The settings of `Options` are removed. A list with one data set per client also sets the division.

    Raises
    ------
    UsageError
        If the object can't be read, or settings contradict the division that a list sets.
    """
    given = settings.get("dataset", "")
    if isinstance(given, str | Dataset):
        return dict(settings)
    names = Options.names()
    own = {key: value for key, value in settings.items() if key not in names}
    told = {"label_kind": label_kind_of(settings.get("task", "auto"))}
    options = Options.of(told | {key: settings[key] for key in settings if key in names})
    own["dataset"] = read_objects(given, options)
    return own | _division(own, len(given)) if isinstance(given, list) else own


def read_objects(given: object, options: Options | None = None) -> Dataset:
    """Make a data set of an object.

    Parameters
    ----------
    given
        ``(X, y)`` of arrays or tensors, ``X`` a dict or a tuple of them where samples have several inputs; a map-style
        torch data set of (input, label); a DataFrame; a Hugging Face data set; a mapping of parts ``"train"``,
        ``"test"`` and ``"validation"`` to these; or a list with one of these per client. Without a test
        part, one is drawn from the training samples, each class in proportion.
    options
        How it is read.

    Raises
    ------
    UsageError
        If the object can't be read; the message names the argument and the row.
    """
    if isinstance(given, Dataset):
        return given
    options = options or Options()
    if isinstance(given, list):
        if not given:
            raise UsageError("dataset", "[]", "is an empty list", "give one data set per client")
        owners = [_parts(one, f"dataset[{number}]", options, several=True) for number, one in enumerate(given)]
    else:
        owners = [_parts(given, "dataset", options, several=False)]
    pieces = [piece for parts in owners for piece in parts.values()]
    if all(isinstance(piece, TablePart) for piece in pieces):
        owner = OWNER if isinstance(given, list) else None
        return frames_dataset(_name(given), owners, owner, options)
    if any(isinstance(piece, TablePart) for piece in pieces):
        problem = "some parts are tables and others are arrays"
        raise UsageError("dataset", type(given).__name__, problem, "give all parts in one form")
    options.refuse_tables_own()
    return _of_arrays(_name(given), owners, isinstance(given, list))


def _division(settings: Mapping[str, Any], clients: int) -> dict[str, Any]:
    given = {"clients": clients, "partition": "natural", "partition_by": OWNER}
    for name, value in given.items():
        if name in settings and str(settings[name]) != str(value):
            problem = f"the list of {clients} data sets sets this already"
            raise UsageError(name, settings[name], problem, "leave it out, or give one data set instead of a list")
    return given


def _parts(given: object, where: str, options: Options, several: bool) -> dict[str, Any]:
    """Return the parts of one data set, each as a `ArrayPart` or a `TablePart`."""
    if isinstance(given, Dataset):
        own = {"train": given.train, "test": given.test, "validation": given.validation}
        return {part: _of_samples(each, given.classes) for part, each in own.items() if isinstance(each, Samples)}
    if isinstance(given, Mapping):
        found = {_part(key, where): read_part(value, f"{where}[{key!r}]", options) for key, value in given.items()}
        if "train" not in found:
            raise UsageError(where, ", ".join(map(str, given)), "'train' is missing", 'give e.g. {"train": (X, y)}')
        if "test" not in found and "validation" in found and _is_hub(given):
            found["test"] = found.pop("validation")  # the convention on the hub
    else:
        found = {"train": read_part(given, where, options)}
    whole = found["train"]
    # A table without other parts is divided after its labels are read.
    if "test" not in found and (several or isinstance(whole, ArrayPart) or len(found) > 1):
        with _naming(where):
            found["train"], found["test"] = whole.divided(options)
    return found


def _of_samples(samples: Samples, names: tuple[str, ...] = ()) -> ArrayPart:
    return ArrayPart(samples.inputs, samples.targets.numpy(), names)


def _part(key: object, where: str) -> str:
    part = PARTS.get(str(key).lower())
    if part is None:
        remedy = 'give {"train": (X, y), "test": (X_test, y_test)}, or (X, y) alone'
        raise UsageError(where, repr(key), "not a part of a data set", remedy)
    return part


def read_part(given: Any, where: str, options: Options) -> ArrayPart | TablePart:
    """Read one part; errors name the argument ``where`` it was given."""
    with _naming(where):
        if isinstance(given, Samples):
            return _of_samples(given)
        pair = getattr(given, "tensors", given)
        if pair is not given and len(pair) > 2:  # a TensorDataset
            pair = (tuple(pair[:-1]), pair[-1])
        if isinstance(pair, tuple):
            return _pair(pair, options)
        if is_frame(given):
            return labelled(given, options.label)
        if _is_hub(given):
            from sglr.data.objects.hub import read_hub

            return read_hub(given, options.label)
        _refuse_unreadable(given)
        return read_items(given, type(given).__name__)


def _pair(pair: tuple[Any, ...], options: Options) -> ArrayPart | TablePart:
    if len(pair) != 2:
        problem = "not a pair of inputs and labels"
        raise UsageError("", f"{len(pair)} value(s)", problem, 'give (X, y); for a test part {"train": …, "test": …}')
    inputs, labels = pair
    if is_frame(inputs):
        return labelled(inputs, options.label, labels)
    if isinstance(inputs, tuple) and isinstance(labels, tuple):
        problem = "not an array of inputs"
        raise UsageError("", "tuple", problem, 'give {"train": (X, y), "test": (X_test, y_test)}')
    if is_several(inputs):
        return several_part(inputs, labels, store=options.sample_store, kind=options.label_kind)
    return read_arrays(inputs, labels, sample_store=options.sample_store, label_kind=options.label_kind)


def _refuse_unreadable(given: Any) -> None:
    kind = type(given).__name__
    if isinstance(given, type):
        raise UsageError("", given.__name__, "is a class", f"give an instance, such as {given.__name__}(…)")
    if hasattr(given, "__fspath__"):
        raise UsageError("", given, "is a path", "give it as text: 'table:FILE.csv' or 'folder:PATH'")
    if hasattr(given, "batch_size") and hasattr(given, "dataset"):
        raise UsageError("", kind, "yields batches", "give its data set: loader.dataset")
    if hasattr(given, "to_pandas"):
        raise UsageError("", kind, "is a table of another library", "give a pandas DataFrame: frame.to_pandas()")
    if hasattr(given, "dtype") or isinstance(given, list):
        raise UsageError("", kind, "has no labels", "give (X, y), a tuple of inputs and labels")
    if not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        problem = "can be read only once, or has no length" if hasattr(given, "__iter__") else "not a data set"
        raise UsageError("", kind, problem, FORMS)


def _is_hub(given: Any) -> bool:
    return any(f"{kind.__module__}.".startswith("datasets.") for kind in type(given).__mro__)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Add the name of the argument to errors."""
    try:
        yield
    except UsageError as error:
        field = f"{where}.{error.field}" if error.field in ("inputs", "targets") else f"{where} {error.field}".strip()
        raise UsageError(field, error.value, error.problem, error.remedy) from error


def _of_arrays(name: str, owners: Sequence[Mapping[str, ArrayPart]], several: bool) -> Dataset:
    _refuse_unlike(owners)
    pieces = [piece for parts in owners for piece in parts.values()]
    described, numbered = settle_targets([(piece.labels, piece.names) for piece in pieces])
    targets = {id(piece): numbers for piece, numbers in zip(pieces, numbered, strict=True)}

    def pooled(part: str) -> Samples:
        own = [parts[part] for parts in owners if part in parts]
        inputs = _joined([piece.inputs for piece in own]) if several else own[0].inputs
        sizes = [len(parts[part]) if part in parts else 0 for parts in owners]
        columns = {OWNER: owner_names(sizes)} if several else {}
        return Samples(inputs, torch.cat([targets[id(piece)] for piece in own]), columns)

    train, test = pooled("train"), pooled("test")
    validation = pooled("validation") if any("validation" in parts for parts in owners) else None
    notes = dict.fromkeys(note for piece in pieces for note in piece.notes)
    classes = described.names if described.are_classes else ()
    unseen = [name for number, name in enumerate(classes) if not (train.targets == number).any()]
    if unseen:
        notes[f"no training sample has class {', '.join(unseen)}"] = None
    layout = owners[0]["train"].layout
    told = tuple(notes) if layout is not None else (*notes, *notes_on(train.inputs))
    encoding = {} if layout is None else {"kind": "arrays", KEY: layout.described()}
    return Dataset(name, train, test, validation=validation, encoding=encoding, notes=told, targets=described)


def _joined(inputs: Sequence[Inputs]) -> Inputs:
    stored = [own for own in inputs if isinstance(own, StoredInputs)]
    if stored and len(stored) < len(inputs):
        problem = "inputs of some clients stay in files, of others in memory"
        raise UsageError("sample_store", "auto", problem, "give memory or disk for all of them")
    return JoinedInputs(stored) if stored else torch.cat([own[:] for own in inputs])


def _refuse_unlike(owners: Sequence[Mapping[str, ArrayPart]]) -> None:
    first, layout = owners[0]["train"].inputs, owners[0]["train"].layout
    for number, parts in enumerate(owners):
        for part, piece in parts.items():
            own = piece.inputs
            if piece.layout != layout:
                where = f"dataset[{number}]" if len(owners) > 1 else "dataset"
                problem = f"inputs of {part} differ from the first, which are {layout or 'one array'}"
                raise UsageError(where, str(piece.layout or "one array"), problem, "give all parts the same inputs")
            if own.shape[1:] != first.shape[1:] or own.dtype != first.dtype:
                shapes = f"{own.dtype} {list(own.shape[1:])}", f"{first.dtype} {list(first.shape[1:])}"
                where = f"dataset[{number}]" if len(owners) > 1 else "dataset"
                problem = f"inputs of {part} differ from the first, which are {shapes[1]}"
                raise UsageError(where, shapes[0], problem, "give all inputs the same shape and type")


def _name(given: Any) -> str:
    if isinstance(given, Mapping):
        return _name(next(iter(given.values())))
    if isinstance(given, list):
        return f"{len(given)} data sets"
    return "arrays" if isinstance(given, tuple) else type(given).__name__
