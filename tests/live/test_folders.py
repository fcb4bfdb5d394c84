"""Run folders in every state that users find them in, and folders of runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.live.folder_view import FolderView, find_runs
from sglr.live.plain_values import figures, number, text
from sglr.live.run_view import RunView
from sglr.runs.stop_file import request_stop
from sglr.storage.lock import locked

from .made_up import make_folder, progress, record, status, write


def state(folder: Path) -> str:
    found = RunView(folder).read()
    json.dumps(found, allow_nan=False)
    told: str = found["run"]["state"]
    return told


def test_what_a_run_does_is_told_by_its_lock_and_its_files(folder: Path) -> None:
    assert state(folder) == "interrupted"  # nobody works on it, and it did not say why
    write(folder / "progress.json", json.dumps(progress(4, 30, state="stopped", why="stopped in epoch 4")))
    assert state(folder) == "stopped"
    with locked(folder):
        write(folder / "progress.json", json.dumps(progress(4, 30)))
        assert state(folder) == "training"
        write(folder / "progress.json", json.dumps(progress(4, 30, state="testing")))
        assert state(folder) == "testing"
        write(folder / "status.json", json.dumps(status(5, 0, state="waiting", why="waiting for client 3")))
        assert RunView(folder).read()["run"]["why"] == "waiting for client 3"
        request_stop(folder, "epoch")
        assert (state(folder), RunView(folder).read()["run"]["stops_after"]) == ("stopping", "epoch")
    (folder / "diverged.json").write_text('{"problem": "the loss stopped being a number"}')
    assert state(folder) == "diverged"
    (folder / "summary.json").write_text('{"test": {"accuracy": 0.9}}')
    assert state(folder) == "finished"
    assert not RunView(folder).read()["can_stop"]


def test_a_run_of_before_there_was_progress_and_one_that_does_not_exist_yet(tmp_path: Path) -> None:
    older = make_folder(tmp_path / "older", 3, 2)
    for name in ("progress.json", "status.json"):
        (older / name).unlink()
    found = RunView(older).read()
    assert (found["run"]["state"], len(found["history"]), found["cost"]["seconds"]) == ("interrupted", 2, 22.0)
    assert found["clients"] == []
    with locked(older):
        assert state(older) == "starting"
    assert state(tmp_path / "none") == "interrupted"


def test_a_finished_run_tells_its_test_and_its_simulated_clients(finished: Path) -> None:
    found = RunView(finished).read()
    summary = json.loads((finished / "summary.json").read_text())
    assert found["test"]["mean"] == summary["test"]["accuracy"]
    assert found["cost"]["up_bytes"] == summary["communication"]["up_bytes"]
    assert [row[1] for row in found["clients"]] == ["simulated"] * 4
    assert [row[2] for row in found["clients"]] == [16] * 4
    assert [row[-1] for row in found["clients"]] == summary["test"]["per_client"]["accuracy"]


def test_simulated_clients_tell_what_they_sent_while_they_train(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.toml", "classes.json"):
        shutil.copy(finished / name, folder)
    view = RunView(folder)
    with locked(folder):
        for sent, at in ((1000, 100.0), (3000, 102.0)):
            clients = {"up_bytes": [sent, 0, 0, sent], "down_bytes": [10, 0, 0, sent]}
            write(folder / "progress.json", json.dumps(progress(1, 3, clients=clients, updated=at)))
            rows = view.read()["clients"]
        assert [(row[1], row[3], row[8], row[9]) for row in rows] == [
            ("simulated", 1000, 3000, 10),
            ("simulated", 0, 0, 0),
            ("simulated", 0, 0, 0),
            ("simulated", 2000, 3000, 3000),
        ]
        write(folder / "progress.json", json.dumps(progress(1, 4, clients={"up_bytes": [1], "down_bytes": "x"})))
        assert {(row[8], row[9]) for row in view.read()["clients"]} == {(None, None)}


HUGE = 10**400
"""More than a float holds."""

FILES = ("config.toml", "metrics.jsonl", "status.json", "progress.json", "summary.json", "classes.json")
RUBBISH = (b"", b"{", b"[]", b"null", b"\xff\x00", b'{"clients": 3}', b'{"clients": [1, null, {"client": {}}]}',
           b'{"test": 3, "communication": [], "energy": "x"}', b'{"epoch": NaN, "loss": Infinity}\n', b"[" * 100_000,
           b'{"counts": [["a", null], 3]}', b'{"test": {"headline": [], "per_client": 3, "scores": 7}}',
           b'{"epoch": %d, "seconds": %d, "clients": [{"client": 0, "answer_ms": %d}]}' % ((HUGE,) * 3))  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_hides_nothing_but_itself(folder: Path, name: str) -> None:
    view = RunView(folder)
    for content in RUBBISH:
        write(folder / name, "")
        (folder / name).write_bytes(content)
        for found in (view.read(), RunView(folder).read()):
            json.dumps(found, allow_nan=False)
            assert name == "metrics.jsonl" or len(found["history"]) == 3
    (folder / name).unlink()
    (folder / name).mkdir()
    json.dumps(view.read(), allow_nan=False)


def test_records_are_read_on_and_anew_where_the_run_went_back(folder: Path) -> None:
    view = RunView(folder)
    assert len(view.read()["history"]) == 3
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(record(4))[:20])
        file.flush()
        assert len(view.read()["history"]) == 3
        file.write(json.dumps(record(4))[20:] + "\n")
    assert [row["epoch"] for row in view.read()["history"]] == [1, 2, 3, 4]
    write(folder / "metrics.jsonl", json.dumps(record(1)) + "\n" + json.dumps(record(2)) + "\n")
    assert [row["epoch"] for row in view.read()["history"]] == [1, 2]


def test_rates_are_bytes_per_second_between_two_statuses_of_a_run_at_work(folder: Path) -> None:
    view = RunView(folder)
    with locked(folder):
        for moved, at in ((1000, 100.0), (3000, 102.0)):
            told = status(5, 0, updated=at)
            told["clients"][2] |= {"up_bytes": moved, "down_bytes": 0}
            write(folder / "status.json", json.dumps(told))
            rows = view.read()["clients"]
        assert rows[2][3] == 1000
        assert view.read()["clients"] == rows  # a second look at the same status
        told["clients"][2] |= {"up_bytes": 10}  # the server was started again
        write(folder / "status.json", json.dumps({**told, "updated": 103.0}))
        assert view.read()["clients"][2][3] == 0
    assert view.read()["clients"][2][3] is None  # nothing moves any more


def test_a_folder_of_runs_lists_them_by_what_tells_them_apart(tmp_path: Path) -> None:
    for number_, (method, lr) in enumerate((m, lr) for m in ("psl", "sglr") for lr in (0.1, 0.2)):
        make_folder(tmp_path / "study" / f"run{number_}", 2, number_ + 1, method=method, lr=lr)
    (tmp_path / "study" / "run0" / "summary.json").write_text('{"test": {"accuracy": 0.75}}')
    (tmp_path / "away").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "study")
    view = FolderView(tmp_path)
    rows = view.read()["runs"]
    assert [row["name"] for row in rows] == [f"study/run{n}" for n in range(4)]
    assert [row["label"] for row in rows] == ["psl, lr=0.1", "psl, lr=0.2", "sglr, lr=0.1", "sglr, lr=0.2"]
    assert [(row["state"], row["epochs_done"]) for row in rows[:2]] == [("finished", 1), ("interrupted", 2)]
    assert rows[0]["score"] == 0.75
    assert len(rows[3]["curve"]) == 4
    assert view.run("study/run1") is not None
    assert view.run("link/run1") is view.run("../study/run1") is view.run("") is None
    shutil.rmtree(tmp_path / "study")
    assert list(find_runs(tmp_path)) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def test_a_number_beyond_what_floats_hold_is_none() -> None:
    assert [number(value) for value in (HUGE, -HUGE, 10**301, 1e300, float("nan"), float("inf"))] == [None] * 6
    assert [number(value) for value in (10**299, -3, 0.5)] == [10**299, -3, 0.5]


@given(st.dictionaries(st.text(), JSON))
def test_whatever_a_file_holds_what_is_shown_is_finite_and_short(content) -> None:
    json.dumps(figures(content), allow_nan=False)
    for value in content.values():
        assert number(value) is None or -1e300 < number(value) < 1e300
        assert len(text(value)) <= 300
        assert text(value).isprintable()
