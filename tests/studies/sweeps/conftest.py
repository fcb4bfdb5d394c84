"""A sweep of a second, shared by the tests that only look at it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sglr.studies.sweeps.sweep import sweep

TINY = {"model": "mlp", "clients": 4, "samples_per_client": 16, "epochs": 1}
GRID = {**TINY, "grid": {"method": ["psl", "sglr:phi=0.5"], "lr": [0.001, 0.01], "seed": [0, 1]}}


@pytest.fixture(scope="session")
def trained(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Return a finished sweep of four configurations and two seeds, to be looked at."""
    return once("swept", lambda folder: sweep(GRID, out=folder, jobs=1, command="sglr sweep rates.toml"))


@pytest.fixture
def own(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of it, the test's own."""
    return Path(shutil.copytree(trained, tmp_path / "own"))


@pytest.fixture
def tiny() -> dict[str, object]:
    """Shared settings of a training of a second."""
    return dict(TINY)


@pytest.fixture
def grid() -> dict[str, object]:
    """Return the grid of the finished sweep."""
    return {**GRID, "grid": dict(GRID["grid"])}
