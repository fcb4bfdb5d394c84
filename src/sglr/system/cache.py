"""Cache measurements of this machine in the user's cache folder.

Each measurement is one small JSON file, so that concurrent processes don't interfere: the first to
write decides for all. The cache is optional: missing or damaged entries are measured again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = "SGLR_CACHE_DIR"
"""Environment variable with the folder to use instead of the platform's default."""


def cache_folder() -> Path:
    """Return the platform's cache folder."""
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "sglr" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "sglr"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sglr"


def recall(kind: str, about: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the cached entry for ``about``, or None."""
    try:
        content = json.loads(_path(kind, about).read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError):  # no such file, no home folder, damaged
        return None
    whole = isinstance(content, dict) and content.get("about") == _plain(about)
    return dict(content["found"]) if whole and isinstance(content.get("found"), dict) else None


def remember(kind: str, about: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Cache ``found`` unless another process was faster; return the cached entry."""
    text = json.dumps({"about": _plain(about), "found": dict(found)}, indent=1) + "\n"
    try:
        path = _path(kind, about)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _written(text, path.parent) as beside:
            _place(beside, path, lambda: recall(kind, about) is None)
    except (OSError, RuntimeError):  # e.g. a read-only home: it is measured again next time
        return dict(found)
    return recall(kind, about) or dict(found)


@contextmanager
def _written(text: str, folder: Path) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _place(beside: Path, path: Path, damaged: Callable[[], bool]) -> None:
    """Move a temporary file to its final name, unless a valid file is there already."""
    try:
        os.link(beside, path)
    except FileExistsError:
        if damaged():
            beside.replace(path)


def _plain(about: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(about))


def _path(kind: str, about: Mapping[str, Any]) -> Path:
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
    return cache_folder() / kind / f"{key}.json"
