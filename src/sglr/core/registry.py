"""Find methods, models, data sets and all other parts by name, without importing what is not asked for.

A built-in part is one file in its package: ``methods/sglr.py`` is the method ``sglr`` (underscores in the
file name are hyphens in the part's). Its ``__all__`` names exactly one thing, the part. Other packages
add theirs through an entry point in the group ``sglr.methods``, ``sglr.models`` and so on.
"""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module, util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from sglr.core.errors import unknown
from sglr.core.outline import outline, part_name


@dataclass(frozen=True)
class Registry:
    """All parts of one kind.

    Parameters
    ----------
    kind
        What one part is called in messages and on the command line, e.g. ``"method"``.
    package
        The package whose modules are the built-in parts; also the entry-point group.
    """

    kind: str
    package: str

    def names(self) -> list[str]:
        """Return the names of all parts, built in and plugged in, sorted."""
        return sorted({*_modules(self.package), *_plugins(self.package)})

    def load(self, name: str) -> Any:
        """Import and return the part called ``name``.

        Raises
        ------
        UsageError
            If there is none; the nearest name is suggested.
        """
        if name in _modules(self.package):
            module = import_module(_modules(self.package)[name])
            return getattr(module, module.__all__[0])
        if name in _plugins(self.package):
            return _plugins(self.package)[name].load()
        raise unknown(self.kind, name, self.names())

    def outline(self, name: str) -> type[Any]:
        """Return a class with the parameters of the part called ``name`` as dataclass fields.

        A built-in part is read from its source, as far as that is plain; others are imported.

        Raises
        ------
        UsageError
            If there is none; the nearest name is suggested.
        """
        if name in _modules(self.package):
            module = _modules(self.package)[name]
            with suppress(NameError, TypeError, ValueError, AttributeError):
                return outline(module, part_name(module))
        part: type[Any] = self.load(name)
        return part

    def summary(self, name: str) -> str:
        """Return one line about the part, read from its source without importing it.

        Raises
        ------
        UsageError
            If there is none; the nearest name is suggested.
        """
        if name in _modules(self.package):
            spec = util.find_spec(_modules(self.package)[name])
            assert spec is not None and spec.origin is not None
            doc = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
            return doc.partition("\n")[0]
        if name in _plugins(self.package):
            return f"from {_plugins(self.package)[name].value}"
        raise unknown(self.kind, name, self.names())


@cache
def _modules(package: str) -> dict[str, str]:
    path = import_module(package).__path__
    return {info.name.replace("_", "-"): f"{package}.{info.name}" for info in pkgutil.iter_modules(path)}


@cache
def _plugins(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


METHODS = Registry("method", "sglr.methods")
MODELS = Registry("model", "sglr.models")
DATASETS = Registry("dataset", "sglr.data.datasets")
PARTITIONERS = Registry("partition", "sglr.data.partitioners")
ENGINES = Registry("engine", "sglr.engines")
ATTACKS = Registry("attack", "sglr.privacy.attacks")
DEFENCES = Registry("defence", "sglr.privacy.defences")
MERGE_RULES = Registry("merge_rule", "sglr.merge_rules")

PARTS: Mapping[str, Registry] = {
    "method": METHODS,
    "dataset": DATASETS,
    "partition": PARTITIONERS,
    "merge_rule": MERGE_RULES,
}
"""Settings that name a part with parameters of its own, and where these parts are found."""

DECIDED_BY_RUN = frozenset(
    ("path", "schema", "input_shape", "classes", "columns", "category_columns", "label_edges", "missing")
)
"""Parameters of data sets that are the run's, and not each site's: they decide what inputs and classes mean."""
