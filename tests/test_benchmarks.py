"""Benchmarks that are jobs of their own run from start to end where there is no GPU, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

import sglr
from sglr.core.data import Samples
from sglr.core.registry import METHODS
from sglr.studies.sweeps.grid import Grid

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
    assert stopped["runs"]["done"] < stopped["runs"]["total"]
    whole = _table2(tmp_path / "out")
    assert whole["status"] == "whole"
    assert whole["runs"]["done"] == whole["runs"]["total"] > 1
    assert whole["samples"] > 0
    assert (tmp_path / "out/results.md").is_file()


def _printed(script: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return result


@pytest.mark.slow
def test_throughput_runs_every_path_and_is_drawn(tmp_path: Path) -> None:
    size = ["--models", "mlp", "--clients", "1", "3", "200", "--rounds", "1", "--seconds", "0.1"]
    result = _printed("throughput.py", *size, "--ways", "mlp")
    assert [row["clients"] for row in result["throughput"]] == [1, 3, 200]
    for row in result["throughput"]:
        assert set(row["ratios"]) == {"sglr / unsplit", "sglr / sglr looped", "sglr / published loop"}
    assert [row["precision"] for row in result["ways"]] == ["bf16"]
    (tmp_path / "results.json").write_text(json.dumps(result))
    script = ROOT / "benchmarks/plot_scaling.py"
    options = ["--results", str(tmp_path / "results.json"), "--out", str(tmp_path / "scaling.svg")]
    told = subprocess.run([sys.executable, str(script), *options], check=True, capture_output=True, text=True).stdout
    assert told.count("| mlp |") == 3
    assert (tmp_path / "scaling.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_a_cell_that_takes_too_much_is_named_with_the_reason() -> None:
    result = _printed("throughput.py", "--models", "mlp", "--clients", "1", "20", "--rounds", "1", "--limit", "0")
    assert "skipped" not in result["throughput"][0]
    assert "s, and a cell may take 0" in result["throughput"][1]["skipped"]


@pytest.mark.slow
def test_ways_to_convolve_are_compared_layer_by_layer() -> None:
    result = _printed("convolutions.py", "--clients", "2", "--batch", "1", "--rounds", "1")
    assert len(result["rows"]) > 1
    for row in result["rows"]:
        assert set(row["times"]) == {"grouped / unsplit", "matmul / unsplit", "loop / unsplit"}


@pytest.mark.slow
@pytest.mark.parametrize("compiled", ["0", "1"])
def test_every_way_of_computing_on_a_gpu_is_a_cell_that_runs(compiled: str) -> None:
    found = _printed("throughput.py", "--one", "mlp", "3", "bf16", compiled, "--rounds", "1", "--seconds", "0")
    assert found["samples_per_second"].keys() == {"sglr", "unsplit"}


@pytest.mark.slow
def test_a_watched_training_is_timed_against_one_that_is_not() -> None:
    result = _printed("leakage_callback.py", "--rounds", "1", "--epochs", "1", "--samples", "20")
    assert len(result["cases"]) == 2
    for case in result["cases"].values():
        assert case["seconds"].keys() == {"without", "every=1"}
        assert case["ratio"] > 0


@pytest.mark.slow
def test_the_live_page_is_timed_with_its_server() -> None:
    result = _printed("live_page.py", "--clients", "3", "--seconds", "1")
    assert result["clients"]["3"]["training"]["share_of_a_core"] > 0
    assert result["clients"]["3"]["page"]["median_seconds_late"] > 0


OF_THE_PAPERS = ("cl", "fl", "ssl", "psl", "sfl", "sflv1", "sflv2", "slr", "sgl", "sglr")
"""Methods of SGLR's and SplitFed's papers; all methods are in the study of benchmarks/which_method."""


@pytest.mark.parametrize("data", ["digits", "fashion-mnist"])
def test_the_study_of_different_data_has_every_method_as_it_is_and_corrected(data: str) -> None:
    grid = ROOT / "benchmarks/non_iid" / f"{data}.toml"
    configurations = Grid.read(grid, {"partition": "shards"}).configurations(1000)
    trained = {(one.experiments[0].method, one.experiments[0].label_prior) for one in configurations}
    assert trained == {(name, "ignore") for name in OF_THE_PAPERS} | {
        (name, "own") for name in OF_THE_PAPERS if not METHODS.load(name).pooled
    }
    assert {one.init for each in configurations for one in each.experiments} == {"common"}
    assert all(one.seeds == [0, 1, 2] for one in configurations)


@pytest.mark.slow
def test_the_study_of_different_data_is_folded_into_a_table(tmp_path: Path) -> None:
    shared = {"clients": 3, "samples_per_client": 24, "epochs": 1, "model": "mlp", "partition": "shards"}
    axes = {"method": ["psl", "sfl"], "label_prior": ["ignore", "own"], "seed": [0, 1]}
    rows = sglr.sweep({**shared, "grid": axes}, jobs=1, out=tmp_path / "tiny").rows
    found = {(row["values"]["method"], row["values"]["label_prior"]): row["accuracies"] for row in rows}
    command = [sys.executable, str(ROOT / "benchmarks/non_iid_study.py"), str(tmp_path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert told.startswith("tiny\n")
    (line,) = [line for line in told.splitlines() if line.startswith("| `sfl` |")]
    plain, corrected, change, _ = (cell.strip().strip("*") for cell in line.split("|")[2:6])
    assert float(plain.split(" ")[0]) == pytest.approx(100 * fmean(found["sfl", "ignore"]), rel=0.01)
    assert float(corrected.split(" ")[0]) == pytest.approx(100 * fmean(found["sfl", "own"]), rel=0.01)
    pairs = [100 * (b - a) for a, b in zip(found["sfl", "ignore"], found["sfl", "own"], strict=True)]
    assert float(change.split(" ")[0]) == pytest.approx(fmean(pairs), rel=0.05, abs=0.05)


@pytest.mark.slow
def test_steps_of_methods_cost_what_their_passes_and_operations_imply() -> None:
    methods = ["psl", "cyclesl", "mix2sfl"]
    result = _printed("method_steps.py", "--model", "mlp", "--rounds", "1", "--methods", *methods)
    rows = {row["method"]: row for row in result["rows"]}
    assert list(rows) == methods
    assert {name: row["server_passes"] for name, row in rows.items()} == {"psl": 10, "cyclesl": 110, "mix2sfl": 10}
    assert rows["mix2sfl"]["server_operations_to_psl"] == 2.0
    assert rows["psl"]["to_implied"] == 1.0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="processes are known by Linux's /proc")
def test_a_training_beside_others_waits_for_its_turn_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from beside.contender import Contender
    from beside.federated_work import Work
    from flower import sglr as training

    work, noise = Work(3, 16, 8, rounds=3), Samples(torch.randn(60, 1, 28, 28), torch.arange(60) % 10)
    work.write(tmp_path, noise, noise)
    contender = Contender(tmp_path / "sglr")
    try:
        training("local", work)(contender, tmp_path)
        assert contender.first(time.perf_counter()) > 0
        turns = [contender.turn() for _ in range(2)]
        assert len((tmp_path / "sglr/run/metrics.jsonl").read_text().splitlines()) in (2, 3)
        assert contender.family.members()
        contender.finish()
        assert contender.family.started[0].wait(60) == 0, contender.family.log()
    finally:
        contender.end()
    assert not contender.family.members()
    assert all(turn.seconds > 0 and turn.memory > 50e6 for turn in turns)
    summary = json.loads((tmp_path / "sglr/run/summary.json").read_text())
    assert (summary["epochs_done"], summary["test"]["accuracy"] >= 0) == (3, True)


@pytest.mark.slow
def test_the_authors_code_of_cyclesl_is_asked_for_where_it_is_not() -> None:
    script = str(ROOT / "benchmarks/cyclesl_code.py")
    done = subprocess.run([sys.executable, script, "--cyclesl", str(ROOT)], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "has no sl.py" in done.stderr
