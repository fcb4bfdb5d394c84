"""Find methods, models, data sets and all other parts by name, without importing what is not asked for.

A built-in part is one file in its package: ``methods/sglr.py`` is the method ``sglr`` (underscores in the
file name are hyphens in the part's). Its ``__all__`` names exactly one thing, the part. Other packages
add theirs through an entry point in the group ``sglr.methods``, ``sglr.models`` and so on.

A part's parameters are read from its source: its class is run without its methods, with the names that its fields are
written with and the module's values of one line. So the command line knows all flags and imports no torch for that.
"""

from __future__ import annotations

import ast
import builtins
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module, util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from sglr.core.errors import unknown


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

    def require(self, name: str) -> None:
        """Refuse a name that no part has, without importing one.

        Raises
        ------
        UsageError
            If there is none; the nearest name is suggested.
        """
        if name not in self.names():
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
                return outline_of(module, part_name(module))
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
    found = {info.name.replace("_", "-"): f"{package}.{info.name}" for info in pkgutil.iter_modules(path)}
    return {name: module for name, module in found.items() if module != NAMED_MODELS.package}


def _plugins(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in _entry_points(tuple(sys.path)).select(group=group)}


@cache
def _entry_points(path: tuple[str, ...]) -> Any:  # of a class that depends on Python's version
    """Return what all packages on ``sys.path`` offer: their files are read once for all kinds of parts."""
    del path
    return entry_points()


def _fields_alone(made: type[Any] | None = None, *, kw_only: bool = False, **_: object) -> Any:
    """Decorate a class as `dataclass` does, without comparing and printing: that is half of the work."""
    decorator = dataclass(kw_only=kw_only, repr=False, eq=False)
    return decorator if made is None else decorator(made)


NAMES: Mapping[str, Any] = {
    "dataclass": _fields_alone,
    "field": field,
    "Any": Any,
    "Literal": Literal,
    "Path": Path,
}
"""What annotations and defaults of parameters are written with, beside builtins and values of one line."""


@cache
def outline_of(module: str, name: str) -> type[Any]:
    """Return a class with the fields of a class and nothing else.

    Parameters
    ----------
    module
        The full name of its module, or of one of sglr's that imports it.
    name
        Its name.

    Raises
    ------
    NameError, TypeError
        If its fields are written with other names than `NAMES`, builtins and what sglr's modules hold in one line.
    """
    made = _value(name, module)
    if not isinstance(made, type):
        raise TypeError(f"no class {name} in {module}")
    return made


def part_name(module: str) -> str:
    """Return the name in a module's ``__all__``."""
    return str(_value("__all__", module)[0])


def _value(name: str, module: str) -> Any:
    """Return what a name stands for in a module: an outline, or the value of one line; None if it can't be told."""
    for node in _statements(_tree(module).body):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _made(node, module)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return eval(_code(ast.Expression(node.value), module, "eval"), dict(NAMES))
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return _value(name, node.module) if node.module and node.module.startswith("sglr.") else None
    return None


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield a module's statements, with those that are there for type checkers alone."""
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from node.body
        else:
            yield node


@cache
def _made(node: ast.ClassDef, module: str) -> type[Any]:
    """Make a class of the fields alone; a base of another package counts as one without fields."""
    fields: list[ast.stmt] = [line for line in node.body if isinstance(line, ast.AnnAssign) and not _of_class(line)]
    bases = {base.id: _value(base.id, module) or object for base in node.bases if isinstance(base, ast.Name)}
    used = {part.id for line in fields for part in ast.walk(line) if isinstance(part, ast.Name)}
    found = {name: _value(name, module) for name in used - NAMES.keys() - vars(builtins).keys()}
    namespace = {**NAMES, **bases, **{name: value for name, value in found.items() if value is not None}}
    bare = ast.ClassDef(node.name, node.bases, [], fields or [ast.Pass()], node.decorator_list)
    namespace["__name__"] = module
    exec(_code(ast.Module([bare], []), module, "exec"), namespace)
    made: type[Any] = namespace[node.name]
    return made


def _of_class(line: ast.AnnAssign) -> bool:
    return ast.unparse(line.annotation).startswith("ClassVar")


def _code(node: ast.Module | ast.Expression, module: str, mode: str) -> Any:
    return compile(ast.fix_missing_locations(node), f"<outline of {module}>", mode, dont_inherit=True)


@cache
def _tree(module: str) -> ast.Module:
    """Return a module's source; no package that it is in is imported, which may need what is not installed."""
    root, *inner = module.split(".")
    folders = import_module(root).__path__
    for place in (Path(folder, *inner) for folder in folders):
        for source in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if source.is_file():
                return ast.parse(source.read_text(encoding="utf-8"))
    raise NameError(f"no source of {module}")


METHODS = Registry("method", "sglr.methods")
MODELS = Registry("model", "sglr.models")
NAMED_MODELS = Registry("model", "sglr.models.named")
DATASETS = Registry("dataset", "sglr.data.datasets")
PARTITIONERS = Registry("partition", "sglr.data.partitioners")
ENGINES = Registry("engine", "sglr.engines")
ATTACKS = Registry("attack", "sglr.privacy.attacks")
DEFENCES = Registry("defence", "sglr.privacy.defences")
AUGMENTATIONS = Registry("augmentation", "sglr.data.augmentations")
MERGE_RULES = Registry("merge_rule", "sglr.merge_rules")
TASKS = Registry("task", "sglr.tasks")
TRACKERS = Registry("tracker", "sglr.trackers")
EXPORTERS = Registry("format", "sglr.exporting.formats")

PARTS: Mapping[str, Registry] = {
    "method": METHODS,
    "dataset": DATASETS,
    "partition": PARTITIONERS,
    "merge_rule": MERGE_RULES,
    "task": TASKS,
}
"""Settings that name a part with parameters of its own, and where these parts are found."""


def model_prefix(spec: str) -> str | None:
    """Return the prefix of a model's name that says which library has it, ``timm`` of ``timm:resnet18``; else None."""
    prefix, colon, _ = spec.partition(":")
    return prefix if colon and prefix in NAMED_MODELS.names() else None
