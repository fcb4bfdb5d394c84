"""The examples in the docstrings of the protocols run as they are written."""

from __future__ import annotations

import doctest
from pathlib import Path
from types import ModuleType

import pytest

from sglr.core import engine, method


@pytest.mark.parametrize("module", [method, engine], ids=lambda module: module.__name__)
def test_the_worked_example_of_a_protocol_runs(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # for the folder of its run
    result = doctest.testmod(module)
    assert result.attempted > 3
    assert result.failed == 0
