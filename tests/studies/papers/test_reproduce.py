"""Reproducing: the smoke scale end to end, as a user would call it; what was trained is not trained again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.process_families import alive, descendants, wait_for

from sglr.core.errors import UsageError
from sglr.runs.folder import CONFIG
from sglr.studies.papers.declared import artefacts
from sglr.studies.papers.reproduce import reproduce


@pytest.mark.charts
def test_closed_forms_need_no_training(tmp_path: Path) -> None:
    result = reproduce(["table6", "fig5"], out=tmp_path / "paper")
    table6, fig5 = result.records
    assert [claim["verdict"] for claim in table6["claims"]] == ["holds", "holds", "holds"]
    assert [claim["verdict"] for claim in fig5["claims"]] == ["holds", "fails"]
    printed = {
        row: cells[0]["ours"]
        for row, cells in zip(table6["tables"][0]["rows"], table6["tables"][0]["cells"], strict=True)
    }
    assert printed == {"than SFL": pytest.approx(88.6, abs=0.05), "than FL": pytest.approx(95.5, abs=0.05)}
    assert "88.6" in (tmp_path / "paper/results.md").read_text(encoding="utf-8")
    assert "Table 6" in (tmp_path / "paper/report.html").read_text(encoding="utf-8")
    kept = json.loads((tmp_path / "paper/reproduction.json").read_text(encoding="utf-8"))
    assert [record["name"] for record in kept["artefacts"]] == ["table6", "fig5"]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"names": ["table7"]}, "artefact"),
        ({"scale": "huge"}, "scale"),
        ({"jobs": 0}, "jobs"),
        ({"seeds": -1}, "seeds"),
    ],
)
def test_bad_wishes_are_refused_before_any_work(tmp_path: Path, settings, field: str) -> None:
    with pytest.raises(UsageError, match=field):
        reproduce(**{"names": ["table1"], "out": tmp_path / "new", **settings})
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        reproduce(["table6"], out=tmp_path / "file")
    (tmp_path / CONFIG).write_text("")
    with pytest.raises(UsageError, match="holds a single run"):
        reproduce(["table6"], out=tmp_path)


@pytest.mark.slow
def test_missing_data_is_told_by_the_processes_that_look_for_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("SGLR_DATA_DIR", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match="fashion-mnist"):
        reproduce(["fig2"], "small", jobs=2, data_dir=tmp_path, out=tmp_path / "out")


@pytest.mark.charts
@pytest.mark.slow
def test_everything_runs_at_the_smoke_scale_by_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sglr", "reproduce", "all", "--scale", "smoke", "--seeds", "1", "--json"]
    done = subprocess.run([*command, "--out", tmp_path / "all"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = {record["name"]: record for record in json.loads(done.stdout)["artefacts"]}
    assert tuple(records) == artefacts()
    for name in ("table1", "table2", "table3", "table4", "table5"):
        assert all(cell["runs"] == 1 for row in records[name]["tables"][0]["cells"] for cell in row), name
    shares = {claim["claim"]: claim["evidence"] for claim in records["table4"]["claims"]}
    assert len(shares) == 5
    computed = records["table4"]["tables"][1]
    ratio = {row: cells[1]["ours"] for row, cells in zip(computed["rows"], computed["cells"], strict=True)}
    assert ratio["FL"] == pytest.approx(0.2)
    assert ratio["SGLR"] == ratio["PSL"] < 0.1 * ratio["FL"]
    assert records["fig2"]["charts"][0]["series"]
    assert records["fig4"]["pictures"][0]["rows"][0]["label"] == "image"
    page = (tmp_path / "all/report.html").read_text(encoding="utf-8")
    assert all(str(record["title"]).partition(":")[0] in page for record in records.values())


@pytest.mark.slow
def test_a_killed_command_leaves_no_process_behind(tmp_path: Path) -> None:
    """Its workers see that it is gone, and end by themselves."""
    command = [sys.executable, "-m", "sglr", "reproduce", "table2", "--scale", "smoke", "--jobs", "2"]
    parent = subprocess.Popen([*command, "--out", tmp_path / "out"], stderr=subprocess.DEVNULL)
    cells = tmp_path / "out/cells"
    wait_for(lambda: cells.is_dir() and any(cells.iterdir()))
    workers = descendants(parent.pid)
    assert workers
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not any(alive(worker) for worker in workers))
