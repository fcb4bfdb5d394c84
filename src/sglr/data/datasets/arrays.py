"""Arrays of your own: arrays:PATH names an NPZ, HDF5 or Parquet file, or a folder of NPY files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sglr.core.data import Dataset
from sglr.core.errors import UsageError, listed
from sglr.data.formats.array_files import Read, array_names
from sglr.data.formats.files import resolve
from sglr.data.new_samples import NewSamples, TrainedOn
from sglr.data.objects.new_arrays import new_arrays
from sglr.data.objects.options import Options
from sglr.data.objects.read import PARTS, read_objects
from sglr.data.stored import SAMPLE_STORE, Store
from sglr.splitting.input_layout import InputLayout

__all__ = ["Arrays"]

INPUTS = ("images", "image", "inputs", "input", "x", "data", "features")
TARGETS = ("labels", "label", "targets", "target", "y", "masks", "mask", "outcomes", "outcome")
PREFIXES = ("x", "input", "inputs")
"""How names of several inputs begin, as in ``x.age``."""
SHOWN = 12  # names in a message

Part = Literal["train", "validation", "test"]
Roles: TypeAlias = dict[str, str | dict[str, str]]
"""The names of the arrays of a part that are its inputs and its targets; of several inputs, by theirs."""


@dataclass(frozen=True)
class Arrays:
    """Arrays by usual names, such as MedMNIST's ``train_images`` and ``train_labels``, or ``x`` and ``y``.

    A word ``train``, ``val`` or ``test`` in a name is its part. Bytes are pixels of pictures or volumes. Arrays called
    ``x.NAME`` (or ``x_NAME``, ``inputs.NAME``) are several inputs of each sample, where none is called ``x`` alone.
    """

    path: str = field(
        default="", metadata={"help": "a .npz, .h5 or .parquet file, or a folder of .npy files", "by_run": True}
    )
    inputs: str = field(
        default="",
        metadata={
            "help": "name of the inputs, without their part, several as A+B; default: images, x …, or all x.NAME",
            "since": "0.2.0",
        },
    )
    targets: str = field(
        default="",
        metadata={"help": "name of the targets, without their part; default: labels, y …", "since": "0.2.0"},
    )
    label_kind: Literal["auto", "classes", "findings", "numbers"] = field(
        default="auto",
        metadata={
            "help": "what label columns hold: classes (one column), findings (0 or 1) or numbers; default: found out",
            "by_run": True,
            "since": "0.2.0",
        },
    )
    sample_store: Store = field(default="auto", metadata=SAMPLE_STORE)
    test_fraction: float = field(
        default=0.2, metadata={"help": "fraction held out for testing if there is no test part"}
    )
    split_seed: int = field(default=0, metadata={"help": "seed for drawing the test samples"})

    def load(self, data_dir: Path | None) -> Dataset:
        """Find the arrays, check them, and hold out test samples.

        Raises
        ------
        UsageError
            If a file can't be read, inputs or targets are not found, or they don't fit one another.
        """
        path = resolve("arrays", self.path, data_dir)
        arrays = array_names(path)
        parts = {part: self._pair(names, arrays, path) for part, names in self._by_part(arrays, path).items()}
        store = self.sample_store
        if path.suffix.lower() not in (".h5", ".hdf5") and not path.is_dir():
            if store == "disk":
                remedy = "leave it out, or give an HDF5 file or a folder of .npy files"
                raise UsageError("sample_store", store, f"{path} is packed, and read whole", remedy)
            store = "memory"
        told = {"label_kind": self.label_kind, "test_fraction": self.test_fraction, "split_seed": self.split_seed}
        dataset = read_objects(parts, Options.of({**told, "sample_store": store}))
        raw = parts["train"][0]
        pixels = not isinstance(raw, dict) and str(raw.dtype) == "uint8" and len(raw.shape) > 2
        encoding = dict(dataset.encoding) or {"kind": "arrays", "pixels": pixels}
        return replace(dataset, name=f"arrays:{self.path}", encoding=encoding)

    def read_new(self, trained: TrainedOn) -> NewSamples:
        """Read inputs, and targets if there are any: the test part if the file has one.

        Raises
        ------
        UsageError
            If a file can't be read, there are no inputs, or targets are not those of the network.
        """
        path = resolve("arrays", self.path, None)
        arrays = array_names(path)
        found = self._roles(arrays, path)
        layout = InputLayout.of(trained.encoding)
        if layout is not None and set(layout.names) <= arrays.keys():
            found = {"test": {"inputs": {name: name for name in layout.names}}}
        if not found and len(arrays) == 1:
            found = {"test": {"inputs": next(iter(arrays))}}
        part: Part | None = next((each for each in ("test", "validation", "train") if each in found), None)
        if part is None or "inputs" not in found[part]:
            raise self._missing("inputs", part or "test", arrays, path)
        names = found[part]
        targets = arrays[str(names["targets"])]() if "targets" in names else None
        notes = [f"{path} has parts: these are those of {part}"] if len(found) > 1 else []
        return new_arrays(_read(names["inputs"], arrays), targets, trained, self.path, notes)

    def _by_part(self, names: Mapping[str, Read], path: Path) -> dict[Part, Roles]:
        """Return the names of inputs and targets of each part; none may be missing."""
        found = self._roles(names, path)
        for part, roles in found.items():
            for role in ("inputs", "targets"):
                if role not in roles:
                    raise self._missing(role, part, names, path)
        if "train" not in found:
            raise self._missing("inputs", "train", names, path)
        return found

    def _roles(self, names: Mapping[str, Read], path: Path) -> dict[Part, Roles]:
        """Return the names of inputs and targets of each part, as far as they are there."""
        found: dict[Part, Roles] = {}
        several: dict[Part, dict[str, str]] = {}
        for name in names:
            words = [word for word in re.split(r"[_/.\-]", name) if word]
            parts = [PARTS[word.lower()] for word in words if word.lower() in PARTS]
            rest = "_".join(word for word in words if word.lower() not in PARTS)
            if len(parts) > 1:
                continue
            part: Part = parts[0] if parts else "train"  # type: ignore[assignment]
            role, own = self._role(name, rest), self._input_of(name, rest)
            if own is not None:
                several.setdefault(part, {})[own] = name
            if role is None:
                continue
            if role in found.setdefault(part, {}):
                problem = f"{found[part][role]} and {name} may both be {role}"
                raise UsageError(role, "none", f"in {path}, {problem}", f"give --{role} NAME")
            found[part][role] = name
        for part, named in several.items():
            found.setdefault(part, {}).setdefault("inputs", named)
        return found

    def _input_of(self, name: str, rest: str) -> str | None:
        """Return which of several inputs an array is, by its name; None if it is none."""
        if "+" in self.inputs:
            return next((each for each in (rest, name) if each in self.inputs.split("+")), None)
        prefix, _, own = rest.partition("_")
        return own if not self.inputs and own and prefix.lower() in PREFIXES else None

    def _role(self, name: str, rest: str) -> str | None:
        for role, given, usual in (("inputs", self.inputs, INPUTS), ("targets", self.targets, TARGETS)):
            if given and given in (name, rest):
                return role
            if not given and rest.lower() in usual:
                return role
        return None

    def _missing(self, role: str, part: str, names: Sequence[str] | Mapping[str, Any], path: Path) -> UsageError:
        given = getattr(self, role)
        problem = f"{path} has no array of this name" if given else f"{path} has no usual name for the {role} of {part}"
        return UsageError(role, given or "none", problem, f"give --{role} NAME; arrays: {listed(list(names), SHOWN)}")

    def _pair(self, names: Roles, arrays: Mapping[str, Read], path: Path) -> tuple[Any, Any]:
        inputs, targets = _read(names["inputs"], arrays), _read(names["targets"], arrays)
        for name, array in (*_named(names["inputs"], inputs), *_named(names["targets"], targets)):
            if not getattr(array, "shape", ()):
                raise UsageError("arrays", f"{path}: {name}", "is a single number", "give one for each sample")
        return inputs, targets[()] if hasattr(targets, "file") else targets


def _read(names: str | dict[str, str], arrays: Mapping[str, Read]) -> Any:
    """Return an array, or several inputs by name."""
    if isinstance(names, str):
        return arrays[names]()
    return {own: arrays[name]() for own, name in names.items()}


def _named(names: str | dict[str, str], values: Any) -> list[tuple[str, Any]]:
    return [(names, values)] if isinstance(names, str) else [(names[own], array) for own, array in values.items()]
