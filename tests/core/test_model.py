"""A model is built by its registered name or by the user's own function; what goes wrong is explained."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import nn

from sglr.core.errors import UsageError
from sglr.core.model import build_model

_numbers = count()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module in the current directory."""
    name = f"my_nets_{next(_numbers)}"
    source = """
from torch import nn
def takes_both(*, input_shape, classes): return nn.Linear(input_shape[0], classes)
def takes_classes(classes=2): return nn.Linear(4, classes)
def takes_anything(**options): return nn.Linear(options["input_shape"][0], options["classes"])
def takes_nothing(): return nn.Linear(4, 9)
def broken(): raise ValueError("no\\nweights")
def forgetful(): nn.Linear(4, 2)
ready = nn.Linear(1, 1)
class Net(nn.Linear):
    def __init__(self, input_shape, classes): super().__init__(input_shape[0], classes)
"""
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.parametrize(
    ("function", "outputs"),
    [("takes_both", 3), ("takes_classes", 3), ("takes_anything", 3), ("takes_nothing", 9), ("Net", 3)],
)
def test_builds_the_user_s_own_model(own: str, function: str, outputs: int) -> None:
    model = build_model(f"{own}:{function}", (4,), 3)
    assert isinstance(model, nn.Module)
    assert model(torch.randn(2, 4)).shape == (2, outputs)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("broken", "the function raised ValueError: no weights"),
        ("forgetful", "returned a NoneType"),
        ("ready", "is a Linear, not a function"),
        ("takes_bot", "did you mean 'takes_both'?"),
    ],
)
def test_a_function_that_builds_no_model_is_explained(own: str, function: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        build_model(f"{own}:{function}", (4,), 3)
    assert raised.value.field == "model"
    assert said in str(raised.value)


def test_a_missing_module_is_told_from_a_failing_import(own: str, tmp_path: Path) -> None:
    (tmp_path / f"{own}_importing.py").write_text("import no_such_dependency")
    (tmp_path / f"{own}_failing.py").write_text("1 / 0")
    for spec, said in {
        f"{own}x:net": f"no module '{own}x'",
        f"{own}.inner:net": f"no module '{own}.inner'",
        f"{own}_importing:net": "importing",
        f"{own}_failing:net": "ZeroDivisionError",
    }.items():
        with pytest.raises(UsageError) as raised:
            build_model(spec, (4,), 3)
        assert said in raised.value.problem, spec


def test_the_current_directory_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    (tmp_path / "net_found_here.py").write_text("from torch import nn\ndef net(): return nn.Linear(1, 1)")
    monkeypatch.chdir(tmp_path)
    assert isinstance(build_model("net_found_here:net", (1,), 1), nn.Linear)


def test_an_unknown_name_brings_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet16'"):
        build_model("resnet18", (3, 32, 32), 10)
