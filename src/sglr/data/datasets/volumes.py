"""NIfTI volumes of your own: volumes:PATH names a folder with a subfolder per class, or with imagesTr and labelsTr."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from sglr.core.data import Dataset
from sglr.core.errors import UsageError, listed
from sglr.data.class_folders import SHOWN, Files, Parts, SampleFile, find_files
from sglr.data.described import Described
from sglr.data.file_samples import FileSamples, OnBad, read_files
from sglr.data.formats.files import resolve
from sglr.data.new_files import new_file_samples
from sglr.data.new_samples import NewSamples, TrainedOn
from sglr.data.volumes.cases import Case, channel_files, class_names, find_cases, is_of_cases
from sglr.data.volumes.read import VOLUMES, Form, Volume, formed, formed_map, read_volume, turned_apart
from sglr.data.volumes.schema import VolumesSchema
from sglr.system.extras import optional
from sglr.system.machine import refuse_beyond_memory

__all__ = ["Volumes"]

IGNORED = 255
"""The number of voxels that belong to no class."""

Pair = tuple[NDArray[np.float32], NDArray[np.uint8] | None]


@dataclass(frozen=True)
class Volumes(Described):
    """Volumes of one orientation and shape, each of a class or with a label map."""

    volume_size: tuple[int, ...] = field(
        default=(),
        metadata={
            "help": "voxels in each direction, such as 64,64,32; default: all volumes have one size",
            "by_run": True,
            "since": "0.2.0",
        },
    )
    spacing: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "millimetres between voxels, such as 1,1,1, to resample to before cropping or padding to the size;"
            " default: the whole volume is resampled to the size",
            "by_run": True,
            "since": "0.2.0",
        },
    )
    window: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "intensities that become -1 and 1, such as -160,240; default: each volume has mean 0, variance 1",
            "by_run": True,
            "since": "0.2.0",
        },
    )
    on_bad: OnBad = field(default="error", metadata={"help": "what to do with unreadable volumes", "since": "0.2.0"})

    schema_type: ClassVar[type[VolumesSchema]] = VolumesSchema

    def load(self, data_dir: Path | None) -> Dataset:
        """Read the volumes, and hold out some for testing.

        Raises
        ------
        UsageError
            If nibabel is missing, a volume can't be read, has another shape or place than its label map, or they differ
            in shape and no size is given.
        """
        root, nibabel = resolve("volumes", self.path, data_dir), optional("nibabel", "medical", "dataset", "volumes")
        agreed = self.agreed(VolumesSchema)
        form = self._form(agreed)
        cases, notes = find_cases(root) if is_of_cases(root) else (None, [])
        given = self.classes if agreed is None else agreed.classes
        self._check_kind(agreed, cases)
        found = find_files(root, VOLUMES, given) if cases is None else _as_files(cases, root)
        _check_room(found.number, form)
        by_name = {case.name: case for case in cases or ()}
        apart: list[str] = []
        read = read_files(found, lambda file: _read(nibabel, file, by_name.get(file.name), form, apart), self.on_bad)
        inputs = _stacked(read)
        rows = read.divided(self.test_fraction, self.split_seed, self.group)
        if cases is None:
            targets: NDArray[Any] = read.labels
            classes: Sequence[str] = found.classes
        else:
            maps = np.stack([labels for _, labels in read.values if labels is not None])
            targets, classes = _numbered(maps, read, {} if given else class_names(root), given)
        facts = {"classes": classes, "segmentation": cases is not None, "channels": inputs.shape[1]}
        schema = agreed or self.stated(VolumesSchema, volume_size=inputs.shape[2:], **facts)
        if schema.channels != inputs.shape[1]:
            problem = f"its volumes have {inputs.shape[1]} channel(s), and the schema {schema.channels}"
            raise UsageError("volumes", self.path, problem, "bring volumes of that kind")
        samples = torch.from_numpy(inputs), torch.from_numpy(targets)
        return self.dataset(schema, samples, rows, read.columns, [*notes, *read.notes, *_paired_as_stored(apart)])

    def read_new(self, trained: TrainedOn) -> NewSamples:
        """Read volumes by the schema of the training: of a folder with label maps the test cases; or files alone.

        Raises
        ------
        UsageError
            If nibabel is missing, there are no volumes, or one can't be read or has other channels.
        """
        root, nibabel = resolve("volumes", self.path, None), optional("nibabel", "medical", "dataset", "volumes")
        schema = VolumesSchema.from_json(trained.encoding)
        if root.is_dir() and is_of_cases(root):
            own = replace(self, schema=schema.to_json()).load(None)
            return NewSamples.of_test(own, trained, str(root))
        form, classes = (
            Form(schema.volume_size, schema.spacing, schema.window),
            () if schema.segmentation else schema.classes,
        )
        kind, channels = channel_files(root, schema.channels)

        def read(file: SampleFile) -> NDArray[np.float32]:
            return formed(read_volume(nibabel, channels(file.file)), form)

        return new_file_samples(root, kind, classes, read, self.on_bad)

    def _form(self, agreed: VolumesSchema | None) -> Form:
        if agreed is not None:
            return Form(agreed.volume_size, agreed.spacing, agreed.window)
        # Checked like a schema, before anything is read.
        size = self.volume_size or (1, 1, 1)
        checked = self.stated(VolumesSchema, classes=("0", "1"), segmentation=False, volume_size=size)
        return Form(checked.volume_size if self.volume_size else None, checked.spacing, checked.window)

    def _check_kind(self, agreed: VolumesSchema | None, cases: Sequence[Case] | None) -> None:
        if agreed is not None and agreed.segmentation != (cases is not None):
            found = "label maps" if cases is not None else "a folder for each class"
            wanted = "label maps (imagesTr, labelsTr)" if agreed.segmentation else "a folder for each class"
            raise UsageError("volumes", self.path, f"has {found}, and the schema wants {wanted}", "bring such data")


def _as_files(cases: Sequence[Case], root: Path) -> Files:
    train, test = ([SampleFile(case.name, case.images[0], 0) for case in cases if case.part == part] for part in (0, 2))
    has_test = (root / "labelsTs").is_dir()
    parts = Parts(root / "imagesTr", None, root / "imagesTs" if has_test else None)
    return Files(train, None, test if has_test else None, ["case"], parts, [])


def _read(nibabel: Any, file: SampleFile, case: Case | None, form: Form, apart: list[str]) -> Pair:
    """Return a volume with its label map, if it has one; ``apart`` gets the name if they lie apart by their affines."""
    volume = read_volume(nibabel, [file.file] if case is None else case.images)
    if case is None:
        return formed(volume, form), None
    labels = read_volume(nibabel, [case.labels])
    _check_place(case, volume, labels)
    if not labels.lies_with(volume):
        apart.append(case.name)
    return formed(volume, form), formed_map(labels._replace(spacing=volume.spacing), form)


def _check_place(case: Case, volume: Volume, labels: Volume) -> None:
    if volume.shape != labels.shape:
        own, other = (" x ".join(map(str, one.shape)) for one in (volume, labels))
        problem = f"has shape {other}, its volume {case.images[0]} {own}"
        raise UsageError("file", case.labels, problem, "give each label map the shape of its volume")
    if labels.turned_apart(volume):
        raise turned_apart(case.labels, f"its volume {case.images[0]}")


def _paired_as_stored(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    where = "label maps lie elsewhere than their volumes by their affines"
    return [f"{where}, and are paired with them voxel by voxel, as they are stored: {listed(names, SHOWN)}"]


def _stacked(read: FileSamples[Pair]) -> NDArray[np.float32]:
    shapes = {volume.shape: file.name for (volume, _), file in zip(read.values, read.files, strict=True)}
    if len(shapes) > 1:
        (one, name), (other, second) = sorted(shapes.items())[:2]
        sizes = f"{name} {' x '.join(map(str, one))}, {second} {' x '.join(map(str, other))}"
        remedy = "give --volume-size, such as 64,64,32, and the same channels for all"
        raise UsageError("volume_size", "none", f"volumes differ in channels or size: {sizes}", remedy)
    return np.stack([volume for volume, _ in read.values])


def _numbered(
    maps: NDArray[np.uint8], read: FileSamples[Pair], named: dict[int, str], given: Sequence[str]
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return label maps with voxels to be ignored as 255, and the names of the classes."""
    ignored = [number for number, name in named.items() if name == "ignore"]
    if ignored:
        maps = np.where(maps == ignored[0], np.uint8(IGNORED), maps)
    numbers = set(np.unique(maps).tolist()) - {IGNORED}
    known = {number: name for number, name in named.items() if name != "ignore"}
    most = max([*known, *numbers], default=0)
    names = tuple(given) or tuple(known.get(number, str(number)) for number in range(most + 1))
    wrong = sorted(number for number in numbers if number >= len(names))
    if wrong or len(names) < 2:
        first = int((maps == (wrong[0] if wrong else 0)).reshape(len(maps), -1).any(1).argmax())
        problem = f"label map {read.files[first].name} has the number {wrong[0]}" if wrong else "all voxels are class 0"
        raise UsageError("classes", ",".join(names), problem, "name all classes, in the order of their numbers from 0")
    return maps, names


def _check_room(count: int, form: Form) -> None:
    """Raise UsageError, before any volume is read, if they don't fit into memory in their form."""
    size = form.size or (0, 0, 0)
    what = f"{count} volumes of {' x '.join(map(str, size))} voxels"
    refuse_beyond_memory(count * prod(size) * 9, "volume_size", ",".join(map(str, size)), what, "give a smaller size")
