"""A folder has one process at a time, and is free again however that process ends."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sglr.storage.lock import LOCK, Held, is_locked, locked, wait_until_free

HOLDER = """
import os, subprocess, sys, time
from pathlib import Path
from sglr.storage.lock import locked
with locked(Path(sys.argv[1])):
    if sys.argv[2] == "fork" and os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    if sys.argv[2] == "start":
        print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
    if sys.argv[2] == "alone":
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


def holder(folder: Path, kind: str) -> tuple[subprocess.Popen[str], int]:
    """Start a process that holds the lock; return it, and the process that outlives it."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.mark.parametrize("kind", ["alone", "fork", "start"])
def test_another_process_is_refused_until_the_holder_is_dead_whatever_it_started(kind: str, tmp_path: Path) -> None:
    process, child = holder(tmp_path, kind)
    try:
        with pytest.raises(
            Held, match=rf"process {process.pid} on .* works in this folder; wait until it ends or stop"
        ):
            locked(tmp_path, "run").__enter__()
        assert is_locked(tmp_path)
        process.kill()
        process.wait()
        assert (tmp_path / LOCK).exists()
        assert not is_locked(tmp_path)
        with locked(tmp_path):
            pass
    finally:
        process.kill()
        if child != process.pid:
            os.kill(child, signal.SIGKILL)
        process.communicate()
    assert list(tmp_path.iterdir()) == []


def test_it_holds_in_one_process_too_and_leaves_nothing(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with locked(tmp_path), pytest.raises(Held, match=f"process {os.getpid()} on"), locked(tmp_path):
        pass
    assert not is_locked(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_take_and_remove_the_file_one_is_in_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def enter_again_and_again() -> None:
        for _ in range(150):
            try:
                with locked(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except Held:
                continue

    threads = [threading.Thread(target=enter_again_and_again) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most
    assert max(most) == 1


def test_a_planted_symlink_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / LOCK).symlink_to(other)
    with pytest.raises(Exception, match=r"cannot be written \(Too many levels of symbolic links\)"), locked(tmp_path):
        pass
    assert other.read_text() == "kept"


def test_where_there_are_no_locks_it_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with locked(tmp_path):
        pass
    assert "the file system has no locks" in caplog.text


def test_what_is_held_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    lock = locked(tmp_path)
    lock.__enter__()
    threading.Timer(0.2, lambda: lock.__exit__(None, None, None)).start()
    wait_until_free(tmp_path, 20.0)
    with locked(tmp_path):
        before = time.monotonic()
        wait_until_free(tmp_path, 0.2)
        wait_until_free(tmp_path, 20.0, stop=lambda: True)
        assert 0.2 <= time.monotonic() - before < 5
    wait_until_free(tmp_path / "none", 20.0)
