"""``sglr status`` of a folder: the table people look at, and the same as JSON."""

from __future__ import annotations

import json
import time

import pytest

CLIENT = {
    "state": "here",
    "samples": 1200,
    "round_trip_ms": 3.21,
    "answer_ms": 20.0,
    "misses": 0,
    "up_bytes": 5_000_000,
    "down_bytes": 4_000_000,
    "rejected": 0,
    "reason": "",
    "since": 0.0,
}


@pytest.fixture
def served(tmp_path):
    rows = [
        {**CLIENT, "client": 0},
        {**CLIENT, "client": 1, "answer_ms": 22.0},
        {**CLIENT, "client": 2, "answer_ms": 950.0, "state": "late", "misses": 3},
        {**CLIENT, "client": 3, "state": "out", "reason": "quarantined: NaN", "answer_ms": None},
        {"client": 4, "state": "never", "samples": 0},
        {**CLIENT, "client": 5, "extreme": 2, "rejected": 2, "remark": "NaN or infinity"},
    ]
    content = {
        "run": "0123456789abcdef0123",
        "state": "training",
        "why": "",
        "epoch": 2,
        "epochs": 5,
        "step": 30,
        "steps": 150,
        "samples_per_second": 1234.5,
        "updated": time.time(),
        "clients": rows,
    }
    (tmp_path / "status.json").write_text(json.dumps(content))
    return tmp_path, content


def test_it_shows_the_step_the_clients_and_who_is_slow(call, served, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    answer = call("status", served[0])
    assert (answer.code, answer.err) == (0, "")
    assert "2 of 5, step 30 of 150" in answer.out
    assert "1,234 samples/s" in answer.out or "1,235 samples/s" in answer.out
    assert "4 of 6 here" in answer.out
    rows = {line.split()[0]: line for line in answer.out.splitlines() if line.strip()[:1].isdigit()}
    assert rows.keys() == {"0", "1", "2", "3", "4", "5"}
    assert "slow" in rows["2"]
    assert "slow" not in rows["1"]
    assert "quarantined: NaN" in rows["3"]
    assert "never" in rows["4"]
    assert "absent 2 times in a row" in rows["5"]


def test_it_fits_a_terminal(call, served, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert max(map(len, call("status", served[0]).out.splitlines())) <= 100


def test_as_json_it_is_what_the_server_wrote(call, served):
    folder, content = served
    assert json.loads(call("status", folder, "--json").out) == content


def test_watching_ends_with_the_run(call, served):
    folder, content = served
    (folder / "status.json").write_text(json.dumps({**content, "state": "done"}))
    answer = call("status", folder, "--watch")
    assert (answer.code, "done" in answer.out) == (0, True)


def test_a_server_that_died_is_told(call, served):
    folder, content = served
    (folder / "status.json").write_text(json.dumps({**content, "updated": time.time() - 60}))
    for further in ((), ("--json",)):
        assert call("status", folder, *further).code == 1
    assert "not running" in call("status", folder).out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere",), "place = nowhere: there is no such folder"),
        (("localhost:7443",), "give your folder as a client with --folder"),
        (("localhost:7443", "--folder", "nowhere"), "no identity in it"),
    ],
)
def test_misuse(call, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    answer = call("status", *words)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert told in answer.err
