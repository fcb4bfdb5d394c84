"""Modules and names of sglr 0.1 that plug-ins import: they lead to what replaced them, with a `DeprecationWarning`.

A name stays in these tables for one release. An entry costs nothing until it is used: a module that moved is searched
for after every other finder has failed, and a name that changed is looked up by the ``__getattr__`` of its module.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader

MODULES: Mapping[str, str] = {
    "sglr.config": "sglr.runs.config",
    "sglr.core.server": "sglr.core.server_protocol",
    "sglr.core.split": "sglr.splitting",
    "sglr.run": "sglr.runs.folder",
    "sglr.sweeps": "sglr.studies.sweeps",
    "sglr.sweeps.results": "sglr.studies.sweeps.results",
    "sglr.sweeps.sweep": "sglr.studies.sweeps.sweep",
    "sglr.trained": "sglr.assembly.load_model",
    "sglr.trials": "sglr.studies.compare.compare",
}
"""Modules that moved, by their old names."""

NAMES: Mapping[str, Mapping[str, str]] = {
    "sglr": {"Moment": "sglr.StepContext"},
    "sglr.core.engine": {"Setting": "sglr.parties.spec.ClientSpec"},
    "sglr.core.types": {
        "EpochDone": "sglr.core.events.EpochDone",
        "Event": "sglr.core.events.Event",
        "Moment": "sglr.core.types.StepContext",
        "StepDone": "sglr.core.events.StepDone",
        "Tally": "sglr.core.events.TrainMetrics",
        "Traffic": "sglr.core.events.Traffic",
        "Weights": "sglr.core.weights.Weights",
    },
    "sglr.privacy.active": {
        "Aftermath": "sglr.privacy.active.AttackOutcome",
        "Scene": "sglr.privacy.active.AttackSetup",
    },
    "sglr.privacy.attack": {"Found": "sglr.privacy.attack.AttackResult"},
}
"""Names that changed or moved, by the modules that had them."""


def old_name(module: str, name: str, stacklevel: int = 2) -> Any:
    """Return what a module's old name stands for now, and warn.

    Parameters
    ----------
    module, name
        The module's full name, and the name that is asked of it.
    stacklevel
        Whose line the warning names: 2 is who calls this function.

    Raises
    ------
    AttributeError
        If the module never had the name.
    """
    new = NAMES.get(module, {}).get(name)
    if new is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    _warn(f"{module}.{name}", new, stacklevel)
    home, _, attribute = new.rpartition(".")
    return getattr(import_module(home), attribute)


def install() -> None:
    """Let the import system find the old names."""
    if not any(isinstance(finder, _OldModules) for finder in sys.meta_path):
        sys.meta_path.append(_OldModules())
        sys.meta_path.insert(0, _OldNames())


def _warn(old: str, new: str, stacklevel: int) -> None:
    warnings.warn(f"{old} is now {new}; sglr 0.3 removes the old name", DeprecationWarning, stacklevel=stacklevel + 1)


class _OldModules:  # no subclass of importlib.abc's classes, whose import takes as long as all of sglr's
    """Finds and loads a module that moved: its names are those of the new one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        return ModuleSpec(fullname, cast("Loader", self), is_package=True) if fullname in MODULES else None

    def create_module(self, spec: ModuleSpec) -> None:
        del spec

    def exec_module(self, module: ModuleType) -> None:
        new = MODULES[module.__name__]
        _warn(module.__name__, new, 2)  # frames of the import system do not count: 2 is the user's line
        module.__dict__["__getattr__"] = partial(getattr, import_module(new))


class _OldNames:
    """Gives a module that is still there a ``__getattr__`` for the names that it had."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in NAMES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                module.__dict__.setdefault("__getattr__", partial(old_name, fullname))

            spec.loader.__dict__["exec_module"] = exec_module
        return spec
