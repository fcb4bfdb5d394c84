"""Find volumes with label maps, in the folders of nnU-Net and of the Medical Segmentation Decathlon.

``imagesTr/CASE_0000.nii.gz`` (one file for each channel) or ``imagesTr/CASE.nii.gz``, with ``labelsTr/CASE.nii.gz``;
``imagesTs`` with ``labelsTs`` is the test part. ``dataset.json`` names the classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sglr.core.errors import UsageError
from sglr.data.class_folders import FileKind, walk
from sglr.data.volumes.read import VOLUMES

FIRST = "_0000"
CHANNEL = re.compile(r"(.+)_(\d{4})")

HOW = "give each case labelsTr/CASE.nii.gz with imagesTr/CASE_0000.nii.gz or imagesTr/CASE.nii.gz"


class Case(NamedTuple):
    """A volume and its label map."""

    name: str
    images: list[Path]
    """A file for each channel."""
    labels: Path
    part: int
    """0 for training, 2 for testing."""


def is_of_cases(root: Path) -> bool:
    """Return whether a folder holds volumes with label maps."""
    return (root / "imagesTr").is_dir() and (root / "labelsTr").is_dir()


def find_cases(root: Path) -> tuple[list[Case], list[str]]:
    """Return the cases of all parts, and notes for the user.

    Raises
    ------
    UsageError
        If there are none, or an image has no label map, or a map no image.
    """
    cases, notes = _of_part(root, "Tr", 0), []
    if not cases:
        raise UsageError("folder", root / "imagesTr", "has no volumes", HOW)
    if (root / "labelsTs").is_dir():
        cases += _of_part(root, "Ts", 2)
    elif (root / "imagesTs").is_dir():
        notes.append(f"{root / 'imagesTs'} is ignored, because it has no labelsTs")
    return cases, notes


def channel_files(root: Path, channels: int) -> tuple[FileKind, Callable[[Path], list[Path]]]:
    """Return which files stand for volumes of their own, and what gives the files of a volume's channels.

    ``CASE_0000.nii.gz``, ``CASE_0001.nii.gz`` … are one volume, unless each has all channels.
    """
    first = FileKind(VOLUMES.name, tuple(f"{FIRST}{ending}" for ending in VOLUMES.endings))
    files = [root] if root.is_file() else walk(root)
    if channels == 1 or not any(first.has(file.name) for file in files):
        return VOLUMES, lambda file: [file]

    def of_volume(file: Path) -> list[Path]:
        case = first.stem(file)  # it may hold ``_0000`` itself
        ending = file.name[len(case) + len(FIRST) :]
        return [file.with_name(f"{case}_{number:04d}{ending}") for number in range(channels)]

    return first, of_volume


def class_names(root: Path) -> dict[int, str]:
    """Return the names of the classes by number, as ``dataset.json`` has them; empty if there is none.

    Raises
    ------
    UsageError
        If it can't be read, or a class is a region of several numbers.
    """
    path = root / "dataset.json"
    if not path.is_file():
        return {}
    try:
        return _numbers(json.loads(path.read_text(encoding="utf-8"))["labels"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"its labels can't be read ({type(error).__name__}: {error})"
        remedy = 'write them like {"labels": {"background": 0, "tumour": 1}}, each class with one number'
        raise UsageError("file", path, problem, remedy) from error


def _numbers(labels: Mapping[str, Any]) -> dict[int, str]:
    """Read both ways of writing: names with numbers, as nnU-Net does, and numbers with names, as the Decathlon does."""
    if all(name.isdigit() for name in labels):
        return {int(number): str(name) for number, name in labels.items()}
    return {int(number): name for name, number in labels.items()}


def _of_part(root: Path, end: str, part: int) -> list[Case]:
    images, labels = root / f"images{end}", root / f"labels{end}"
    maps = {VOLUMES.stem(path): path for path in _files(labels)}
    files: dict[str, list[Path]] = {}
    for path in _files(images):
        stem = VOLUMES.stem(path)
        channel = CHANNEL.fullmatch(stem)
        files.setdefault(stem if stem in maps or channel is None else channel[1], []).append(path)
    for name in sorted(maps.keys() ^ files.keys()):
        single = files[name][0] if name in files else maps[name]
        raise UsageError(
            "file", single, "has no label map" if name in files else "is a label map without a volume", HOW
        )
    return [Case(name, files[name], maps[name], part) for name in sorted(files)]


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if VOLUMES.has(path.name))
