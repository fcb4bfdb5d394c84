"""A plug-in written for sglr 0.1 is still imported, and its author is told what to write instead."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import sglr
from sglr.deprecated.old_names import MODULES, NAMES

PLUGIN = Path(__file__).with_name("method_for_0_1.txt")
"""The example of CONTRIBUTING.md as sglr 0.1.0 had it."""


def test_the_documented_method_of_0_1_is_a_method_and_warns_at_its_own_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copyfile(PLUGIN, tmp_path / "method_for_0_1.py"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sglr.core.server", raising=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plugin = importlib.import_module("method_for_0_1")
    assert issubclass(plugin.Blend, sglr.Method)
    assert plugin.Server is sglr.Server
    assert plugin.Moment is sglr.StepContext
    assert [str(one.message) for one in caught if one.filename == str(path)] == [
        "sglr.core.server is now sglr.core.server_protocol; sglr 0.3 removes the old name",
        "sglr.core.types.Moment is now sglr.core.types.StepContext; sglr 0.3 removes the old name",
    ]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_moved_has_the_names_of_the_new_one(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{module} is now {MODULES[module]};"):
        old = importlib.import_module(module)
    new = importlib.import_module(MODULES[module])
    assert all(getattr(old, name) is value for name, value in vars(new).items() if not name.startswith("__"))


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in NAMES.items() for name in names])
def test_a_name_that_changed_is_the_new_one(module: str, name: str) -> None:
    new, _, attribute = NAMES[module][name].rpartition(".")
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} is now {NAMES[module][name]};") as caught:
        value = getattr(importlib.import_module(module), name)
    assert value is getattr(importlib.import_module(new), attribute)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("module", NAMES)
def test_a_name_that_never_was_is_an_error(module: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'Nonsense'"):
        _ = importlib.import_module(module).Nonsense


def test_nothing_warns_unless_an_old_name_is_used() -> None:
    code = f"import sglr, {', '.join(NAMES)}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_attack_for_0_1_reads_the_scene_of_its_outcome() -> None:
    from sglr.privacy.active import AttackOutcome

    outcome = AttackOutcome("setup", "method", "attacked", "clean")
    with pytest.warns(DeprecationWarning, match="AttackOutcome.scene is now setup"):
        assert outcome.scene == "setup"
