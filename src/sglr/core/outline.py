"""The parameters of a part, read from its source without importing what the part imports.

A part's class is run without its methods, with the names that its fields are written with and the module's values of
one line. So the command line knows all flags and imports no torch for that.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any, Literal

NAMES: Mapping[str, Any] = {
    "dataclass": dataclass,
    "field": field,
    "Any": Any,
    "Literal": Literal,
    "Path": Path,
}
"""What annotations and defaults of parameters are written with, beside builtins and values of one line."""


@cache
def outline(module: str, name: str) -> type[Any]:
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
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _made(node, module)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return eval(_code(ast.Expression(node.value), module, "eval"), dict(NAMES))
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return _value(name, node.module) if node.module and node.module.startswith("sglr.") else None
    return None


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
    spec = util.find_spec(module)
    if spec is None or spec.origin is None:
        raise NameError(f"no source of {module}")
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
