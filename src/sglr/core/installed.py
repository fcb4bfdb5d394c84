"""Import a module that a run's folder names: one that is installed, and never one from inside that folder.

Who opens a stranger's run folder did not choose the code that its settings name. So the current directory is not
searched, nothing in the folder is taken, and neither are Python's own modules and sglr's, which hold no models but
functions that do other things.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from sglr.core.errors import UsageError

_REFUSED = frozenset((*sys.stdlib_module_names, "sglr"))


def import_installed(spec: str, place: str, folder: Path) -> ModuleType:
    """Import module ``place`` of a model ``spec``, ``package.module:function``, that the run in ``folder`` names.

    Raises
    ------
    UsageError
        If it is not installed outside the folder.
    ModuleNotFoundError
        If a parent of it is installed and it is not there.
    """
    top, inside = place.partition(".")[0], folder.resolve()
    with _only_installed(inside):
        if top in _REFUSED or "__main__" in place.split(".") or not _is_installed(place, inside):
            problem = "the run's folder names this code, which is not installed"
            remedy = f"if you trust it, name it yourself: --model {spec} (in Python: model={spec!r})"
            raise UsageError("model", spec, problem, remedy)
        return import_module(place)


@contextmanager
def _only_installed(folder: Path) -> Iterator[None]:
    before = sys.path[:]
    sys.path[:] = [entry for entry in before if entry and not Path(entry).resolve().is_relative_to(folder)]
    try:
        yield
    finally:
        sys.path[:] = before


def _is_installed(place: str, folder: Path) -> bool:
    """Say whether a module and the packages around it are there, and all of them outside the folder."""
    words = place.split(".")
    for count in range(1, len(words) + 1):
        # Finding a module imports what is around it, which was looked at before.
        found = find_spec(".".join(words[:count]))
        if found is None or any(place.is_relative_to(folder) for place in _places(found)):
            return False
    return True


def _places(found: ModuleSpec) -> list[Path]:
    origin = [found.origin] if found.has_location and found.origin else []
    return [Path(place).resolve() for place in (*origin, *(found.submodule_search_locations or ()))]
