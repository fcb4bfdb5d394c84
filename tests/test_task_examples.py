"""The examples of tasks, as a user starts them: each ends with its difference from the same network on pooled data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

BOUNDS = {
    "breast_cancer": (-0.02, 0.05),
    "heartbeats": (-0.05, 0.05),
    "tabular_transformer": (-0.1, 0.1),
    "regression": (-0.1, 0.1),
    "segmentation": (-0.1, 0.1),
    "u_net": (-0.1, 0.1),
    "two_inputs": (-0.06, 0.05),
    "frozen_stem": (-0.1, 0.1),
    "phantom": (-0.15, 0.1),
    "next_character": (-1, 4),
}
"""By example, between what bounds the headline differs from that on pooled data; perplexity, the last, may be more."""


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDS)
def test_an_example_comes_near_to_pooled_data(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False)
    assert told.returncode == 0, told.stderr
    difference = told.stdout.splitlines()[-1].partition(": ")[2].split(",")[0]
    least, most = BOUNDS[name]
    assert least < float(difference) < most
