"""Scan a folder with one subfolder of files for each class: its parts, its classes, and the files of each class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sglr.core.errors import UsageError, listed, printable
from sglr.data.classes import refuse_unknown

PARTS = {"train": ("train", "training"), "validation": ("val", "valid", "validation"), "test": ("test", "testing")}
"""Parts of a data set, and the folder names for each, in any case."""

OF_SYSTEMS = frozenset(("__macosx", "@eadir", "thumbs.db", "desktop.ini"))
"""Files that operating systems leave in folders; they are ignored, like names that begin with a dot."""

SHOWN = 3  # names in a note


class FileKind(NamedTuple):
    """What the files of a data set are."""

    name: str
    """What one is called in messages, in the plural: ``"pictures"``."""
    endings: tuple[str, ...]
    """Endings of their names, in lower case; found in any case."""

    def has(self, name: str) -> bool:
        """Return whether a file of this name is one."""
        return not is_hidden(name) and name.lower().endswith(self.endings)

    def stem(self, path: Path) -> str:
        """Return a file's name without its ending."""
        longest = max((each for each in self.endings if path.name.lower().endswith(each)), key=len, default="")
        return path.name[: len(path.name) - len(longest)]


class SampleFile(NamedTuple):
    """A file that holds one sample."""

    name: str
    """Its path within the folder of its part, for messages."""
    file: Path
    label: int
    folder: str = ""
    """The subfolder of its class's folder that it lies in, such as a patient's or a speaker's; often empty."""


class Parts(NamedTuple):
    """The folders of the parts of a data set."""

    train: Path
    validation: Path | None = None
    test: Path | None = None
    others: tuple[str, ...] = ()
    """Other folders, which are ignored."""


class Files(NamedTuple):
    """The files of the parts of a data set."""

    train: list[SampleFile]
    validation: list[SampleFile] | None
    test: list[SampleFile] | None
    classes: list[str]
    parts: Parts
    notes: list[str]

    @property
    def number(self) -> int:
        """Of files."""
        return sum(len(part) for part in (self.train, self.validation, self.test) if part is not None)


def find_files(root: Path, kind: FileKind, classes: Sequence[str] = ()) -> Files:
    """Return the files of each part and class.

    Parameters
    ----------
    root
        A folder with one subfolder for each class, or with folders for parts that have such subfolders.
    kind
        The kind of files.
    classes
        The allowed classes, of which some may not occur; empty for all that occur in the training part.

    Raises
    ------
    UsageError
        If a folder is missing or has no files, a class is not one of those given, or parts have different classes.
    """
    parts = find_parts(root, kind)
    found = _classes(parts.train, classes, kind)
    _check_parts(parts, found, given=bool(classes))
    files = ClassFiles(kind)
    train, validation, test = (None if part is None else files.of_part(part, found) for part in parts[:3])
    assert train is not None, "there is always a training part"
    passed = f"{root} is divided into parts; other folders are ignored: {listed(parts.others, SHOWN)}"
    notes = [*([passed] if parts.others else []), *files.notes, *_alike(found)]
    return Files(train, validation, test, found, parts, notes)


def find_parts(root: Path, kind: FileKind) -> Parts:
    """Return the parts that ``root`` is divided into; if it is not divided, ``root`` itself as the training part.

    It is divided if it has a folder of training files, with or without folders for validation or testing.

    Raises
    ------
    UsageError
        If ``root`` can't be read, has several folders for one part, or has parts but none for training.
    """
    names = subfolders(root)
    found, others = by_part(names)
    divided = found["train"] and (found["validation"] or found["test"] or not others)
    if not divided and (others or not names):
        return Parts(root)
    for part, of_part in found.items():
        refuse_several(root, kind, part, of_part)
    if not found["train"]:
        problem = f"its subfolders {', '.join(names)} are parts of a data set, but none has the training {kind.name}"
        raise UsageError("folder", root, problem, f"name the folder of training {kind.name} 'train'")
    folders = {part: root / of_part[0] for part, of_part in found.items() if of_part}
    return Parts(**folders, others=tuple(others))


def by_part(names: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return which folders' names are those of each part, and which are of none."""
    found = {part: [name for name in names if name.lower() in usual] for part, usual in PARTS.items()}
    return found, [name for name in names if not any(name in of_part for of_part in found.values())]


def refuse_several(root: Path, kind: FileKind, part: str, of_part: Sequence[str]) -> None:
    """Raise UsageError if a part has several folders."""
    if len(of_part) > 1:
        problem = f"has several folders of {part} {kind.name}: {', '.join(of_part)}"
        raise UsageError("folder", root, problem, "keep one of them")


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


class ClassFiles:
    """Finds the files of one data set, part by part, and counts the ignored ones."""

    def __init__(self, kind: FileKind) -> None:
        self._kind = kind
        self._others: Counter[str] = Counter()
        self._loose: list[str] = []

    def of_part(self, root: Path, classes: Sequence[str]) -> list[SampleFile]:
        """Return the files in a folder with one subfolder for each class; a class may have none.

        Raises
        ------
        UsageError
            If a class has a folder, but no files in it, or a folder can't be read.
        """
        self._loose += [str(path) for path in sorted(root.iterdir()) if path.is_file() and self._kind.has(path.name)]
        there = {*subfolders(root)}
        # Class names may come from a server: none may lead out of this folder.
        folders = {label: root / name for label, name in enumerate(classes) if name in there}
        return [
            sample_file(path, root, folder, label)
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
            notes.append(f"ignored, because their names do not end like those of {self._kind.name}: {files}")
        return notes

    def _of_class(self, folder: Path) -> list[Path]:
        files = walk(folder)
        found = [path for path in files if self._kind.has(path.name)]
        if not found:
            remedy = f"put some there ({' '.join(sorted(self._kind.endings))}), or remove the folder"
            raise UsageError("folder", folder, f"has no {self._kind.name}", remedy)
        self._others.update(path.suffix.lower() for path in files if not self._kind.has(path.name))
        return found


def sample_file(path: Path, root: Path, folder: Path, label: int = 0) -> SampleFile:
    """Return a file in ``folder``, the folder of its class, and in ``root``, that of its part."""
    inner = path.parent.relative_to(folder).as_posix()
    return SampleFile(printable(path.relative_to(root).as_posix()), path, label, "" if inner == "." else inner)


def walk(folder: Path) -> list[Path]:
    """Return the files in a folder and its subfolders, sorted, following links to folders, each folder only once.

    Raises
    ------
    UsageError
        If a folder can't be read.
    """
    return sorted(_walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
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


def _classes(root: Path, classes: Sequence[str], kind: FileKind) -> list[str]:
    if not classes:
        return _found(root, kind, least=2)
    refuse_unknown(_found(root, kind, least=1), classes, str(root))
    return list(classes)


def _found(root: Path, kind: FileKind, least: int) -> list[str]:
    names = subfolders(root)
    if len(names) < least:
        needs = "training needs two or more classes" if least > 1 else "each class needs its own"
        problem = f"has {len(names)} subfolder(s), and {needs}"
        raise UsageError("folder", root, problem, f"put the {kind.name} of each class into a subfolder of its own")
    return names


def _check_parts(parts: Parts, classes: list[str], *, given: bool) -> None:
    """Refuse parts with different classes; validation may lack some, and any part if classes are given."""
    for part in (parts.validation, parts.test):
        if part is None:
            continue
        differing = {*classes} ^ {*subfolders(part)}
        if given or part == parts.validation:
            differing -= {*classes}
        if differing:
            raise _differing(sorted(differing), parts.train, part, classes)


def _differing(names: list[str], train: Path, part: Path, classes: list[str]) -> UsageError:
    problem = f"{train.name} and {part.name} have different classes: {', '.join(names)}"
    pairs = [(one, name) for one in classes for name in names if one != name and one.lower() == name.lower()]
    if pairs:
        problem += f" ({pairs[0][0]} and {pairs[0][1]} differ in case only)"
        return UsageError("folder", part, problem, "give each class the same name in all parts")
    return UsageError("folder", part, problem, "make a subfolder for every class in both folders")


def _alike(classes: list[str]) -> list[str]:
    lower = Counter(name.lower() for name in classes)
    twice = sorted(name for name in classes if lower[name.lower()] > 1)
    return [f"classes differ in case only: {', '.join(twice)}"] if twice else []
