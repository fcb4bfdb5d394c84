"""A run folder as a mapping of files, to be sent to another machine and back: written whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

Files = Mapping[str, bytes]
"""Contents by path inside the folder."""


def pack(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder, those left out that are only half written; empty if there is no folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def unpack(folder: Path, files: Files) -> None:
    """Write a folder anew with these files; whoever is killed meanwhile leaves the old one or the new one."""
    partial, old = _beside(folder)
    shutil.rmtree(partial, ignore_errors=True)
    for name, content in files.items():
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if folder.exists():
        folder.replace(old)
    partial.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def tidy(folder: Path) -> None:
    """Bring a folder back, and remove what is beside it, if writing it anew was cut short."""
    partial, old = _beside(folder)
    if old.is_dir() and not folder.is_dir():
        old.replace(folder)
    for left_over in (partial, old):
        shutil.rmtree(left_over, ignore_errors=True)


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f".{folder.name}.partial"), folder.with_name(f".{folder.name}.old")
