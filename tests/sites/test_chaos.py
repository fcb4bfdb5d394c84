"""The chaos command: a short record loses nothing, and a loss would show."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from benchmarks.chaos.__main__ import ROOT, main
from benchmarks.chaos.cases import CASES
from benchmarks.chaos.disturbed import differences, results
from benchmarks.chaos.faults import flip, tear
from benchmarks.chaos.tables import by_case, by_kind

from sglr.core.registry import METHODS

from .federation import local_twin


def _chaos(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.chaos", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_whatever_dies_stops_or_is_cut_off_the_run_is_that_of_peace(tmp_path):
    out = tmp_path / "record.json"
    words = ("--methods", "sglr, int8 with feedback", "--faults", 3, "--epochs", 2, "--jobs", 1, "--out", out)
    done = _chaos(*words)
    record = json.loads(out.read_bytes())
    assert [run["lost"] for run in record["runs"]] == [[]], done.stdout
    assert done.returncode == 0, done.stderr
    assert record["faults"] == sum(record["by_kind"].values()) >= 3
    assert {"seed", "commit", "command", "epochs"} <= record["runs"][0].keys()
    # It goes on with a record that is there.
    again = _chaos(*words).stdout
    assert re.fullmatch(r"going on with .*record\.json: \d+ faults in 1 runs, 0 of which lost .*\n", again)


def test_every_method_that_sites_can_run_is_among_them():
    kinds = {name: METHODS.load(name) for name in METHODS.names()}
    able = {name for name, kind in kinds.items() if not kind.pooled}
    assert {case["method"] for case in CASES.values()} == able


def test_an_unknown_method_is_refused_before_anything_is_started(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["chaos", "--methods", "sglr; rubbish", "--out", str(tmp_path / "record.json")])
    assert main() == 2
    assert capsys.readouterr().err.startswith("unknown methods: rubbish; known: psl; ")
    assert list(tmp_path.iterdir()) == []


def test_one_number_of_one_record_is_a_difference(tmp_path):
    run = local_twin({"epochs": 2}, tmp_path / "run").path
    peace = results(run)
    assert {"weights_sha256", "communication", "record 1", "record 2"} <= peace.keys()
    assert differences(peace, results(run)) == []
    metrics = run / "metrics.jsonl"
    first, second = map(json.loads, metrics.read_text().splitlines())
    sent = next(name for name, value in second.items() if "bytes" in name and value)
    metrics.write_text(f"{json.dumps(first)}\n{json.dumps({**second, sent: second[sent] + 1})}\n")
    [difference] = differences(peace, results(run))
    assert difference.startswith("record 2: ")
    metrics.write_text(json.dumps(first) + "\n")
    assert differences(peace, results(run)) == [f"record 2: None instead of {peace['record 2']}"]
    metrics.write_text(f"{json.dumps(first)}\n{json.dumps({**second, 'seconds': 0.0})}\n")
    assert differences(peace, results(run)) == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("damage", [tear, flip])
def test_damage_damages(damage, seed, tmp_path):
    file: Path = tmp_path / "step-1.safetensors"
    file.write_bytes(bytes(1000))
    damage(file, Random(seed))
    assert file.read_bytes() != bytes(1000)


def test_the_page_tells_what_the_record_holds():
    record = json.loads((ROOT / "benchmarks/results/chaos-cpu.json").read_bytes())
    page = (ROOT / "docs/results/chaos.md").read_text(encoding="utf-8")
    assert by_kind(record) in page
    assert by_case(record) in page
    assert f"{record['faults']:,} faults were done to {len(record['runs'])} trainings" in page
    ran = {run["case"] for run in record["runs"]}
    assert ran <= CASES.keys()
    not_yet = re.search(r"Not among them yet, being newer: ([^.]+)\.", page)
    assert ran | set(re.findall("`([^`]+)`", not_yet[1] if not_yet else "")) == CASES.keys()
    assert record["faults"] == sum(sum(run["faults"].values()) for run in record["runs"]) >= 1000
    assert [run["lost"] for run in record["runs"] if run["lost"]] == []
