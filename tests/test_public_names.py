"""The names that other people's Python code uses are frozen: a change of one shows as a difference.

They are those of ``sglr.__all__`` and those that documents and examples import: each class with its public members,
each function with its parameters and their defaults. ``python tests/test_public_names.py`` writes the file anew.
Before you remove or rename a line, put the old name into `sglr.deprecated.old_names`, and tell users in CHANGELOG.md.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

import sglr

ROOT = Path(__file__).parents[1]
FROZEN = Path(__file__).with_name("public_names.txt")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def public_names() -> list[str]:
    """List all public names as they are now."""
    for name in sglr.__all__:
        getattr(sglr, name)  # names are imported when they are first used, and `_members` looks at all of them
    lines = [line for name in sorted(sglr.__all__) for line in _described(f"sglr.{name}", getattr(sglr, name))]
    shown = {id(getattr(sglr, name)): f"sglr.{name}" for name in sglr.__all__}
    for module, name in sorted(_documented()):
        value = getattr(import_module(module), name)
        known = shown.get(id(value))
        full = f"{module}.{name}"
        lines += [f"{full} is {known}"] if known else _described(full, value)
    return lines


def _documented() -> set[tuple[str, str]]:
    """Return the modules below sglr, and the names in them, that documents and examples import."""
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    sources = [block for path in documents for block in BLOCK.findall(path.read_text(encoding="utf-8"))]
    sources += [path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")]
    return {
        (node.module, alias.name)
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sglr.")
        for alias in node.names
    }


def _described(full: str, value: Any) -> Iterator[str]:
    yield full
    if inspect.isclass(value):
        made_with = list(_parameters(full, value)) if _is_made_by_own_code(value) else []
        yield from made_with
        for name in sorted(_members(value)):
            if not any(line.startswith((f"{full}({name})", f"{full}({name}=")) for line in made_with):
                yield f"{full}.{name}"
                yield from _parameters(f"{full}.{name}", inspect.getattr_static(value, name, None))
    else:
        yield from _parameters(full, value)


def _is_made_by_own_code(kind: type) -> bool:
    """Tell whether the signature of a class is written in Python, which is the same with every version of Python."""
    return not (getattr(kind, "_is_protocol", False) or issubclass(kind, Enum)) and (
        inspect.isfunction(kind.__init__) or inspect.isfunction(kind.__new__)
    )


def _members(kind: type) -> set[str]:
    """Return the public attributes and methods that sglr gives a class, but those that a public base has, too."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("sglr.")]
    names = {name for base in own for name in (*vars(base), *vars(base).get("__annotations__", ()))}
    told = {name for base in own[1:] if base in vars(sglr).values() for name in dir(base)}
    return {name for name in names - told - {"model_config", "model_post_init"} if not name.startswith("_")}


def _parameters(full: str, value: Any) -> Iterator[str]:
    value = getattr(value, "__func__", value)  # of a class or static method
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        return
    for parameter in inspect.signature(value).parameters.values():
        if parameter.name not in ("self", "cls"):
            default = "a function" if inspect.isfunction(parameter.default) else parameter.default
            yield f"{full}({parameter.replace(annotation=parameter.empty, default=default)})"


def test_public_names_are_those_that_were_frozen() -> None:
    frozen = FROZEN.read_text(encoding="utf-8").splitlines()
    difference = "\n".join(difflib.unified_diff(frozen, public_names(), "frozen", "now", lineterm="", n=0))
    assert not difference, f"public names changed:\n{difference}\n{__doc__}"


if __name__ == "__main__":
    FROZEN.write_text("\n".join(public_names()) + "\n", encoding="utf-8")
