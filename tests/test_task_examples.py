"""The examples of tasks, as a user starts them: each ends with its difference from the same network on pooled data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

WORST = {
    "breast_cancer": -0.02,
    "heartbeats": -0.05,
    "tabular_transformer": -0.1,
}
"""How much less the headline may be than on pooled data, by example."""


@pytest.mark.slow
@pytest.mark.parametrize("name", WORST)
def test_an_example_comes_near_to_pooled_data(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False)
    assert told.returncode == 0, told.stderr
    difference = told.stdout.splitlines()[-1].partition("data: ")[2].split(",")[0]
    assert WORST[name] < float(difference) < 0.1
