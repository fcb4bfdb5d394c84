"""Private files are private and whole; facts are seen by everyone at once."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest

from sglr.engines.remote.trust.files import Facts, read_private, write_once, write_private


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def open_umask() -> None:
    before = os.umask(0)
    yield
    os.umask(before)


def test_files_are_closed_whatever_the_umask(tmp_path: Path, open_umask: None) -> None:
    write_private(tmp_path / "a", b"1")
    write_once(tmp_path / "b", b"2")
    Facts(tmp_path / "facts", ".json", int).add("c", b"3")
    assert {mode(tmp_path / name) for name in ("a", "b", "facts/c.json")} == {0o600}
    assert mode(tmp_path / "facts") == 0o700


def test_a_file_that_was_opened_to_others_is_closed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "key").write_bytes(b"k")
    (tmp_path / "key").chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert read_private(tmp_path / "key") == b"k"
    assert mode(tmp_path / "key") == 0o600
    assert "could be read by others" in caplog.text


def test_writing_leaves_nothing_else_and_replaces(tmp_path: Path) -> None:
    write_private(tmp_path / "a", b"1")
    write_private(tmp_path / "a", b"2")
    assert not write_once(tmp_path / "a", b"3")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"2")]


def test_of_many_writers_exactly_one_writes(tmp_path: Path) -> None:
    start, wrote = threading.Barrier(8), []

    def race(number: int) -> None:
        start.wait()
        if write_once(tmp_path / "a", b"%d" % number):
            wrote.append(b"%d" % number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrote == [(tmp_path / "a").read_bytes()]


def test_facts_of_others_are_seen_at_once(tmp_path: Path) -> None:
    mine, theirs = Facts(tmp_path, ".json", int), Facts(tmp_path, ".json", int)
    for number in range(50):
        assert theirs.add(f"{number}", b"%d" % number)
        assert mine.all()[f"{number}"] == number
    assert not mine.add("7", b"8")
    (tmp_path / "7.json").unlink()
    assert "7" not in theirs.all()


def test_an_old_folder_that_changes_again_is_read_again(tmp_path: Path) -> None:
    facts = Facts(tmp_path, ".json", int)
    facts.add("1", b"1")
    os.utime(tmp_path, (1e9, 1e9))
    assert facts.all() == {"1": 1}
    Facts(tmp_path, ".json", int).add("2", b"2")
    assert facts.all() == {"1": 1, "2": 2}


def test_changes_within_one_tick_of_the_file_systems_clock_are_seen(tmp_path: Path) -> None:
    facts = Facts(tmp_path, ".json", int)
    facts.add("1", b"1")
    stamp = tmp_path.stat().st_mtime_ns
    assert facts.all() == {"1": 1}
    facts.add("2", b"2")
    os.utime(tmp_path, ns=(stamp, stamp))
    assert facts.all() == {"1": 1, "2": 2}


def test_an_unreadable_fact_and_a_half_written_one_are_left_out(tmp_path: Path) -> None:
    facts = Facts(tmp_path, ".json", int)
    facts.add("1", b"one")
    facts.add("2", b"2")
    (tmp_path / ".3.json.0a0b").write_bytes(b"3")
    assert facts.all() == {"2": 2}
