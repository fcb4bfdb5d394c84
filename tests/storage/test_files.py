"""What can't be read is told from what isn't there, and a file is written whole or not at all."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from sglr.assembly.run_checkpoints import save_checkpoint
from sglr.core.errors import NotRead
from sglr.runs.folder import Run
from sglr.storage.files import (
    create,
    files_in,
    is_file,
    read_if_there,
    read_through,
    sweep_partials,
    write_bytes,
    written_whole,
)

CAUSES = [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE]


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert not is_file(tmp_path / "none")
    assert not is_file(tmp_path)
    assert files_in(tmp_path / "none", "*") == []
    assert read_if_there(tmp_path / "none") is None
    (tmp_path / "b").touch()
    (tmp_path / "a").touch()
    assert files_in(tmp_path, "*") == [tmp_path / "a", tmp_path / "b"]


def test_what_cannot_be_read_is_an_error_with_its_cause(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for look in (is_file, read_if_there, read_through, lambda path: files_in(path, "*")):
        with pytest.raises(NotRead, match=r"loop: cannot be read \(Too many levels of symbolic links\)"):
            look(loop)
    with pytest.raises(NotRead, match=r"cannot be read \(Is a directory\)"):
        read_if_there(tmp_path)


@pytest.mark.parametrize("code", CAUSES)
def test_a_read_that_fails_midway_is_an_error_with_its_cause(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def readinto(self, _: object) -> int:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "open", lambda *_, **__: Failing())
    with pytest.raises(NotRead) as found:
        read_through(tmp_path / "file")
    assert os.strerror(code) in str(found.value)


def test_a_file_is_replaced_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError), written_whole(path) as partial:
        partial.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    write_bytes(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    kept = [tmp_path / name for name in ("best", ".hidden", "step.partial", ".tmp", ".tmpabcdefg")]
    for path in [*kept, tmp_path / ".best.0f.partial", tmp_path / ".tmpa1B2c3"]:
        path.touch()
    sweep_partials(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_file_is_synced_before_it_gets_its_name_and_its_folder_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace, link = os.fsync, os.replace, os.link

    def synced(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        done.append("folder" if path.is_dir() else "file" if path.suffix == ".partial" else path.name)
        fsync(handle)

    def named(way: Callable[..., None], first: Path, second: Path) -> None:
        done.append(f"name {second.name}" if not second.name.startswith(".") else "copy")
        way(first, second)

    monkeypatch.setattr(os, "fsync", synced)
    for publish in (replace, link):
        with written_whole(tmp_path / publish.__name__, partial(named, publish)) as path:
            path.write_bytes(b"1")
        assert done == ["file", f"name {publish.__name__}", "folder"]
        done.clear()
    run = Run(tmp_path)
    monkeypatch.setattr(os, "link", partial(named, link))
    save_checkpoint(run, 3, {"w": torch.zeros(1)}, {}, best=True, keep=2)
    assert done[-3:] == ["copy", "file", "folder"]
    done.clear()
    run.write_summary({})
    assert done == ["file", "folder"]


def test_a_planted_symlink_is_not_written_through(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    for name in ("summary.json", "metrics.jsonl", ".summary.json.partial"):
        (tmp_path / name).symlink_to(other)
    run = Run(tmp_path)
    run.write_summary({})
    with pytest.raises(OSError, match="symbolic links"):
        run.append({})
    with pytest.raises(FileExistsError):
        create(tmp_path / ".summary.json.partial")
    assert other.read_text() == "kept"
    assert not (tmp_path / "summary.json").is_symlink()


def test_a_small_file_takes_little_memory_whatever_it_may_have(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_bytes(b"{}")
    tracemalloc.start()
    try:
        assert read_if_there(path, 2**30) == b"{}"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
