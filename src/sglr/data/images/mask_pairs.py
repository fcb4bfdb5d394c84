"""Find pictures with their masks: two folders with equal names, or NAME.png beside NAME_mask.png."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from sglr.core.errors import UsageError, printable
from sglr.data.class_folders import PARTS, find_parts, subfolders, walk
from sglr.data.images.decode import PICTURES

IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "annotations")
"""Names of folders of pictures and of masks, in any case."""

ENDS = ("_mask", "-mask")
"""How the name of a mask ends, where it has a suffix."""

HOW = "give each picture a mask of its name: images/NAME.png and masks/NAME.png, or NAME.png and NAME_mask.png"


class Pair(NamedTuple):
    """A picture and its mask."""

    name: str
    """The picture's path within the data set's folder, for messages."""
    picture: Path
    mask: Path
    folder: str
    """The subfolder that they lie in, such as a patient's; often empty."""
    part: int
    """0 for training, 1 for validation, 2 for testing."""


def find_pairs(root: Path) -> list[Pair]:
    """Return the pictures of a folder with their masks, part by part.

    Raises
    ------
    UsageError
        If there are none, or a picture has no mask, or a mask no picture; the message names it.
    """
    parts = find_parts(root, PICTURES)
    pairs = [pair for part, place in enumerate(parts[:3]) if place is not None for pair in _of_part(root, place, part)]
    if not any(pair.part == 0 for pair in pairs):
        raise UsageError("folder", root, "has no pictures with masks", HOW)
    return _by_inner_parts(pairs)


def has_masks(root: Path) -> bool:
    """Return whether a folder has masks: a folder of them, or files whose names say so."""
    places = [root, *(root / name for name in subfolders(root))]
    named = any(_named(place, MASKS) for place in places)
    return named or any(_without_end(PICTURES.stem(path)) != PICTURES.stem(path) for path in walk(root))


def _of_part(root: Path, place: Path, part: int) -> list[Pair]:
    images, masks = (_named(place, names) for names in (IMAGES, MASKS))
    if images and masks:
        pictures, own = _by_name(images, walk(images)), _by_name(masks, walk(masks))
        own = {name if name in pictures else _without_end(name): path for name, path in own.items()}
    else:
        files = _by_name(place, walk(place))
        own = {_without_end(name): path for name, path in files.items() if _without_end(name) != name}
        pictures = {name: path for name, path in files.items() if _without_end(name) == name}
    _refuse_single(pictures, own)
    return [_pair(root, name, pictures[name], own[name], part) for name in pictures]


def _named(place: Path, names: Iterable[str]) -> Path | None:
    found = [name for name in subfolders(place) if name.lower() in names]
    return place / found[0] if len(found) == 1 else None


def _by_name(folder: Path, files: Iterable[Path]) -> dict[str, Path]:
    """Return the pictures by their paths without ending; refuse two that differ in the ending alone."""
    found: dict[str, Path] = {}
    for path in files:
        if not PICTURES.has(path.name):
            continue
        name = path.relative_to(folder).with_name(PICTURES.stem(path)).as_posix()
        if name in found:
            problem = f"and {found[name].name} differ in their endings only"
            raise UsageError("file", path, problem, "remove one, or rename it with its mask")
        found[name] = path
    return found


def _without_end(name: str) -> str:
    return next((name.removesuffix(end) for end in ENDS if name.lower().endswith(end)), name)


def _refuse_single(pictures: Mapping[str, Path], masks: Mapping[str, Path]) -> None:
    for name, path in masks.items():
        if name not in pictures:
            raise UsageError("file", path, "is a mask without a picture", HOW)
    single = [str(path) for name, path in pictures.items() if name not in masks]
    if single:
        problem = f"has no mask (as {len(single) - 1} other picture(s))" if len(single) > 1 else "has no mask"
        raise UsageError("file", single[0], problem, HOW)


def _pair(root: Path, name: str, picture: Path, mask: Path, part: int) -> Pair:
    folder = name.rpartition("/")[0]
    return Pair(printable(picture.relative_to(root).as_posix()), picture, mask, folder, part)


def _by_inner_parts(pairs: list[Pair]) -> list[Pair]:
    """Take images/train, images/val … as the parts, if all pictures lie in such folders."""
    numbers = {word: number for number, words in enumerate(PARTS.values()) for word in words}
    first, _, inner = zip(*(pair.folder.partition("/") for pair in pairs), strict=True)
    found = [numbers.get(word.lower(), -1) for word in first]
    if min(found) < 0 or 0 not in found or any(pair.part for pair in pairs):
        return pairs
    return [pair._replace(part=part, folder=folder) for pair, part, folder in zip(pairs, found, inner, strict=True)]
