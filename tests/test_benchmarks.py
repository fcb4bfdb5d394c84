"""Benchmarks that are jobs of their own run from start to end where there is no GPU, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def _table2(out: Path, *options: str) -> dict[str, Any]:
    script = ROOT / "benchmarks/table2_gpu.py"
    command = [sys.executable, str(script), "--scale", "smoke", "--device", "cpu", "--out", str(out), *options]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    result: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return result


@pytest.mark.slow
def test_the_job_of_table_2_stops_in_time_and_goes_on(tmp_path: Path) -> None:
    stopped = _table2(tmp_path / "out", "--minutes", "0.01")
    assert "to be continued" in stopped["status"]
    assert stopped["runs"]["done"] == 0
    whole = _table2(tmp_path / "out")
    assert whole["status"] == "whole"
    assert whole["runs"]["done"] == whole["runs"]["total"] > 1
    assert whole["samples"] > 0
    assert (tmp_path / "out/results.md").is_file()
