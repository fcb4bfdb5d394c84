"""Scan a folder of pictures: its parts, its classes, and the files of each class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sglr.core.errors import UsageError, listed, printable
from sglr.data.images.decode import SHOWN, Picture

PARTS = {"train": ("train", "training"), "validation": ("val", "valid", "validation"), "test": ("test", "testing")}
"""Parts of a data set, and the folder names for each, in any case."""

ENDINGS = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".bmp", ".gif", ".webp", ".avif", ".tga"),
        *(".tif", ".tiff", ".pbm", ".pgm", ".pnm", ".ppm"),
    }
)
"""File name endings of pictures, in any case."""

OF_SYSTEMS = frozenset(("__macosx", "@eadir", "thumbs.db", "desktop.ini"))
"""Files that operating systems leave in folders; they are ignored, like names that begin with a dot."""


class Parts(NamedTuple):
    """The folders of the parts of a data set, each with one subfolder for each class."""

    train: Path
    validation: Path | None = None
    test: Path | None = None
    others: tuple[str, ...] = ()
    """Other folders, which are ignored."""


def find_parts(root: Path) -> Parts:
    """Return the parts that ``root`` is divided into; if it is not divided, ``root`` itself as the training part.

    It is divided if it has a folder of training pictures, with or without folders of validation or test pictures.

    Raises
    ------
    UsageError
        If ``root`` can't be read, has several folders for one part, or has parts but no training pictures.
    """
    names = subfolders(root)
    found = {part: [name for name in names if name.lower() in usual] for part, usual in PARTS.items()}
    others = [name for name in names if not any(name in of_part for of_part in found.values())]
    divided = found["train"] and (found["validation"] or found["test"] or not others)
    if not divided and (others or not names):
        return Parts(root)
    for part, of_part in found.items():
        if len(of_part) > 1:
            problem = f"has several folders of {part} pictures: {', '.join(of_part)}"
            raise UsageError("folder", root, problem, "keep one of them")
    if not found["train"]:
        problem = f"its subfolders {', '.join(names)} are parts of a data set, but none has the training pictures"
        raise UsageError("folder", root, problem, "name the folder of training pictures 'train'")
    folders = {part: root / of_part[0] for part, of_part in found.items() if of_part}
    return Parts(**folders, others=tuple(others))


def subfolders(root: Path) -> list[str]:
    """Return the names of the folders in ``root``, sorted, without hidden ones and links to a parent folder.

    Raises
    ------
    UsageError
        If ``root`` is not a readable folder.
    """
    if not root.is_dir():
        raise UsageError("folder", root, "not a folder", "give a folder with one subfolder for each class")
    try:
        paths = [path for path in root.iterdir() if not is_hidden(path.name) and path.is_dir()]
    except OSError as error:
        raise _unreadable(error) from error
    here = root.resolve()
    return sorted(path.name for path in paths if path.resolve() not in (here, *here.parents))


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is ignored silently."""
    return name.startswith(".") or name.lower() in OF_SYSTEMS


class PictureFiles:
    """Finds the pictures of one data set, part by part, and counts the ignored files."""

    def __init__(self) -> None:
        self._others: Counter[str] = Counter()
        self._loose: list[str] = []

    def of_part(self, root: Path, classes: Sequence[str]) -> list[Picture]:
        """Return the pictures in a folder with one subfolder for each class; a class may have none.

        Raises
        ------
        UsageError
            If a class has a folder, but no pictures in it, or a folder can't be read.
        """
        self._loose += [str(path) for path in sorted(root.iterdir()) if path.is_file() and _is_picture(path.name)]
        there = {*subfolders(root)}
        # Class names may come from a server: none may lead out of this folder.
        folders = {label: root / name for label, name in enumerate(classes) if name in there}
        return [
            Picture(printable(str(path.relative_to(root))), path, label)
            for label, folder in folders.items()
            for path in self._of_class(folder)
        ]

    @property
    def notes(self) -> list[str]:
        """What the user should know about the files, a sentence each."""
        notes = []
        if self._loose:
            names = [printable(name) for name in self._loose]
            notes.append(f"ignored, because they are not in the folder of a class: {listed(names, SHOWN)}")
        if self._others:
            endings = ", ".join(printable(ending) or "no ending" for ending, _ in self._others.most_common(5))
            count = self._others.total()
            files = f"{count} file{'s' if count > 1 else ''} ({endings})"
            notes.append(f"ignored, because their names do not end like those of pictures: {files}")
        return notes

    def _of_class(self, folder: Path) -> list[Path]:
        files = sorted(_walk(folder))
        pictures = [path for path in files if _is_picture(path.name)]
        if not pictures:
            remedy = f"put some there ({' '.join(sorted(ENDINGS))}), or remove the folder"
            raise UsageError("folder", folder, "has no pictures", remedy)
        self._others.update(path.suffix.lower() for path in files if not _is_picture(path.name))
        return pictures


def _is_picture(name: str) -> bool:
    return not is_hidden(name) and Path(name).suffix.lower() in ENDINGS


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders, following links to folders, each folder only once."""
    here = folder.resolve()
    entered = {here, *here.parents}
    for place, names, files in os.walk(folder, onerror=_refuse, followlinks=True):
        names[:] = [name for name in sorted(names) if not is_hidden(name) and _enter(Path(place, name), entered)]
        yield from (Path(place, name) for name in files if not is_hidden(name))


def _enter(folder: Path, entered: set[Path]) -> bool:
    real = folder.resolve()
    if real in entered:
        return False
    entered.add(real)
    return True


def _refuse(error: OSError) -> None:
    raise _unreadable(error) from error


def _unreadable(error: OSError) -> UsageError:
    return UsageError("folder", error.filename, f"cannot be read ({error.strerror})", "check its permissions")
