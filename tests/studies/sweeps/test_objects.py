"""Sweeps over data given as objects, and in scripts as people write them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sglr
from sglr.core.errors import UsageError

GRID = {"epochs": 1, "clients": 2, "model": "mlp", "batch_size": 4, "grid": {"method": ["psl", "sfl"]}}
X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.arange(40) % 2

SCRIPT = """
import numpy as np
import sglr

print("begun")
X = np.random.default_rng(0).normal(size=(40, 3))
grid = {"epochs": 1, "clients": 2, "model": "mlp", "batch_size": 4, "grid": {"method": ["psl", "sfl"]}}
result = sglr.sweep(grid, dataset=(X, np.arange(40) % 2), out="swept", jobs=2)
print([(row["label"], row["test"]["accuracy"]) for row in result.rows])
"""


def test_a_sweep_trains_on_an_object_and_goes_on_with_the_same_one_only(tmp_path: Path) -> None:
    first = sglr.sweep(GRID, dataset=(X, Y), out=tmp_path / "swept", jobs=1)
    again = sglr.sweep(GRID, dataset=(X, Y), out=tmp_path / "swept", jobs=1)
    assert [row["test"] for row in again.rows] == [row["test"] for row in first.rows]
    assert len(list((tmp_path / "swept" / "cells").iterdir())) == 2
    sglr.sweep(GRID, dataset=(X, 1 - Y), out=tmp_path / "swept", jobs=1)
    assert len(list((tmp_path / "swept" / "cells").iterdir())) == 4
    with pytest.raises(UsageError, match=r"dataset = <arrays .*was given as a Python object.*dataset=\.\.\."):
        sglr.sweep(tmp_path / "swept" / "grid.toml", out=tmp_path / "other", jobs=1)


@pytest.mark.parametrize(
    ("part", "value", "shown"), [("model", torch.nn.Linear(3, 2), "<Linear>"), ("task", sglr.Binary(), "<Binary>")]
)
def test_parts_other_than_data_are_named(tmp_path: Path, part: str, value: object, shown: str) -> None:
    with pytest.raises(UsageError, match=f"{part} = {shown}: is a Python object, and a sweep names its parts"):
        sglr.sweep(GRID, dataset=(X, Y), out=tmp_path / "swept", jobs=1, **{part: value})
    assert not (tmp_path / "swept").exists()


def test_a_cluster_cannot_be_sent_an_object(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dataset = <arrays .*machines of a cluster load what they train on"):
        sglr.sweep(GRID, dataset=(X, Y), out=tmp_path / "swept", ray_address="auto")
    assert not (tmp_path / "swept").exists()


@pytest.mark.slow
def test_a_script_needs_no_guard_around_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "plain.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    begun, rows = done.stdout.splitlines()
    assert begun == "begun"  # once: no process ran the script anew
    alone = sglr.sweep(GRID, dataset=(X, Y), out=tmp_path / "alone", jobs=1)
    assert rows == str([(row["label"], row["test"]["accuracy"]) for row in alone.rows])
