"""Stories of ``sglr sweep``."""

from __future__ import annotations

import json
import signal

import pytest

GRID = """\
dataset = "digits"

[grid]
method = ["psl", "sglr:phi=1"]
seed = [0, 1]
"""


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(GRID, encoding="utf-8")
    return path


@pytest.mark.charts
def test_a_sweep_prints_its_progress_and_one_table(call, tiny, grid, tmp_path):
    answer = call("sweep", grid, *tiny, "--jobs", "1", "--out", tmp_path / "s")
    assert answer.code == 0
    assert [line.partition(": ")[0] for line in answer.err.splitlines()] == [
        "[1/4] psl, seed 0",
        "[2/4] psl, seed 1",
        "[3/4] sglr:phi=1, seed 0",
        "[4/4] sglr:phi=1, seed 1",
    ]
    assert f"next    sglr show {tmp_path / 's'}\n" in answer.out
    assert all(text in answer.out for text in ("psl", "sglr:phi=1", "accuracy", "best    ", "±"))
    assert call("show", tmp_path / "s").out == answer.out
    page = (tmp_path / "s/report.html").read_text(encoding="utf-8")
    assert str(grid) in page
    assert call("report", tmp_path / "s").out.strip() == str(tmp_path / "s/report.html")
    assert call("report", tmp_path / "s", "--out", tmp_path / "elsewhere.html").code == 0
    elsewhere = (tmp_path / "elsewhere.html").read_text(encoding="utf-8")
    assert 'href="s/cells/' in elsewhere
    answer = call("report", tmp_path / "s", tmp_path / "s")
    assert (answer.code, "is a sweep, not a run" in answer.err) == (2, True)


def test_a_sweep_prints_json_alone(call, tiny, grid, tmp_path):
    answer = call("sweep", grid, *tiny, "--jobs", "1", "--out", tmp_path / "s", "--json", "--quiet")
    assert answer.err == ""
    record = json.loads(answer.out)
    assert record == json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert (record["keys"], len(record["rows"])) == (["method"], 2)
    assert record["best"] in [row["label"] for row in record["rows"]]
    assert json.loads(call("show", tmp_path / "s", "--json").out) == record


def test_a_dry_run_lists_what_there_is_to_do_and_writes_nothing(call, tiny, grid, tmp_path):
    answer = call("sweep", grid, *tiny, "--out", tmp_path / "s", "--dry-run")
    assert answer.code == 0
    assert "2 configurations, 4 runs (new)" in answer.out
    planned = json.loads(call("sweep", grid, *tiny, "--out", tmp_path / "s", "--dry-run", "--json").out)
    assert planned["runs"] == 4
    assert planned["rows"][1] == {
        "label": "sglr:phi=1",
        "values": {"method": "sglr:phi=1"},
        "seeds": [0, 1],
        "states": ["new", "new"],
    }
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--alpha", "1"], "method psl has no such parameter"),
        (["--seed", "3"], "varies it"),
        (["--batch-size", "0"], "batch_size = 0"),
        (["--limit", "3"], "makes 4 runs"),
        (["--jobs", "0"], "jobs = 0"),
        (["--lr", "fast"], "lr = fast"),
        (["--dry-run", "--lr", "fast"], "lr = fast"),
        (["--nonsense"], "nonsense"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_line(call, tiny, grid, tmp_path, words, told):
    answer = call("sweep", grid, *tiny, *words, "--out", tmp_path / "s", "--quiet")
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.count("\n") == 1
    assert told in answer.err
    assert not (tmp_path / "s").exists()


def test_a_damaged_record_is_told(call, tmp_path):
    (tmp_path / "sweep.json").write_text('{"rows": []}')
    for command in ("show", "report"):
        answer = call(command, tmp_path)
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert "run the same sweep again" in answer.err


@pytest.mark.slow
def test_ctrl_c_ends_with_code_1_and_says_how_to_go_on(start, grid, tmp_path):
    process = start("sweep", grid, "--clients", "4", "--epochs", "400", "--jobs", "2", "--out", "s")
    while not list(tmp_path.glob("s/cells/*/checkpoints/step-*.safetensors")):
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "the same sweep again with out = s goes on from there" in err
    assert list(tmp_path.glob("s/cells/*/checkpoints/step-*.safetensors"))
