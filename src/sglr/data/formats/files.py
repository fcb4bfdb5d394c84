"""Find data files on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sglr.core.errors import UsageError

VARIABLE = "SGLR_DATA_DIR"
REMEDY = f"give the folder that contains them with --data-dir or the environment variable {VARIABLE}"


def data_root(data_dir: Path | None) -> Path | None:
    """Return the data folder: the one given, else the one that SGLR_DATA_DIR names, else None.

    Raises
    ------
    UsageError
        If that folder does not exist.
    """
    named = os.environ.get(VARIABLE)
    root = data_dir or (Path(named) if named else None)
    if root is not None and not root.is_dir():
        field = "--data-dir" if data_dir else VARIABLE
        raise UsageError(field, root, "no such folder", "give a folder that exists")
    return root


def candidates(data_dir: Path | None, *subfolders: str) -> list[Path]:
    """Return the folders in which to look for a data set: its own subfolders first, then the data folder.

    The data folder comes last because MNIST and Fashion-MNIST name their files alike.
    """
    root = data_root(data_dir)
    return [] if root is None else [*(root / name for name in subfolders), root]


def first_file(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first of the files ``names`` that is in ``folder``, or None."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def looked_for(files: str, folders: Sequence[Path]) -> str:
    """Describe which files were looked for and where."""
    places = ", ".join(map(str, folders)) or "no data folder was given"
    return f"{files} not found ({places})"


def resolve(field: str, path: str, data_dir: Path | None) -> Path:
    """Return the file or folder ``path``, tried as given and then in the data folder.

    Raises
    ------
    UsageError
        If it does not exist.
    """
    if not path:
        raise UsageError(field, path, "no path", f"give it after a colon, as in {field}:PATH")
    root = data_root(data_dir)
    places = [Path(path), *([] if root is None else [root / path])]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        where = " or ".join(str(place.absolute()) for place in places)
        raise UsageError(field, path, f"not found: {where}", "check the path")
    return found
