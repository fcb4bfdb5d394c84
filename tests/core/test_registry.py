"""Parts are found by name: a file in the package, or another package's entry point."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from itertools import count
from pathlib import Path

import pytest

from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.registry import DATASETS, ENGINES, MERGE_RULES, METHODS, MODELS, PARTITIONERS, Registry

_numbers = count()


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A package of two parts, and an installed distribution that plugs in a third."""
    name = f"toys_{next(_numbers)}"
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "red_car.py").write_text('"""A red car.\n\nMore."""\n__all__ = ["RedCar"]\nclass RedCar: ...\n')
    (package / "broken.py").write_text('"""Can\'t be imported."""\nraise RuntimeError("imported")\n')
    (tmp_path / f"{name}_extra.py").write_text("class Train:\n    wheels = 8\n")
    info = tmp_path / f"{name}_extra-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-extra\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{name}]\ntrain = {name}_extra:Train\n")
    monkeypatch.syspath_prepend(tmp_path)
    return Registry("toy", name)


def test_names_are_files_with_hyphens_and_entry_points(toys: Registry) -> None:
    assert toys.names() == ["broken", "red-car", "train"]


def test_a_built_in_part_is_what_its_module_exports(toys: Registry) -> None:
    assert toys.load("red-car").__name__ == "RedCar"


def test_an_entry_point_of_another_package_is_loaded(toys: Registry) -> None:
    assert toys.load("train").wheels == 8


def test_an_unknown_name_is_refused_with_the_nearest(toys: Registry) -> None:
    with pytest.raises(UsageError, match=r"toy = red_car: no such toy; did you mean 'red-car'\? known: broken, red-"):
        toys.load("red_car")


def test_a_summary_is_the_first_line_and_imports_nothing(toys: Registry) -> None:
    assert toys.summary("red-car") == "A red car."
    assert toys.summary("broken") == "Can't be imported."
    assert toys.summary("train") == f"from {toys.package}_extra:Train"


def test_a_summary_of_an_unknown_name_is_refused_too(toys: Registry) -> None:
    with pytest.raises(UsageError, match=r"toy = trian: no such toy; did you mean 'train'\?"):
        toys.summary("trian")


def test_all_methods_of_the_paper_are_there() -> None:
    assert {"cl", "fl", "ssl", "psl", "sfl", "slr", "sgl", "sglr", "sflv1", "sflv2"} <= set(METHODS.names())


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_is_a_method_whose_name_is_its_files(name: str) -> None:
    part = METHODS.load(name)
    assert issubclass(part, Method)
    assert part.__module__.rpartition(".")[2] == name.replace("-", "_")


@pytest.mark.parametrize("name", METHODS.names())
def test_every_hyper_parameter_of_a_method_says_what_it_is(name: str) -> None:
    for field in fields(METHODS.load(name)):
        assert field.metadata["help"]


@pytest.mark.parametrize(
    "registry", [METHODS, MODELS, DATASETS, PARTITIONERS, MERGE_RULES, ENGINES], ids=lambda r: r.kind
)
def test_every_part_has_a_summary(registry: Registry) -> None:
    assert registry.names()
    for name in registry.names():
        assert registry.summary(name).endswith((".", ")"))


def test_listing_and_summarising_imports_no_part() -> None:
    code = (
        "import sys; from sglr.core.registry import METHODS; "
        "[METHODS.summary(name) for name in METHODS.names()]; "
        "assert 'sglr.methods.psl' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
