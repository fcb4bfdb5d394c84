"""A full disk is waited out, and giving up loses nothing but the wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from sglr.storage.retry import write_patiently


def test_what_can_be_written_again_is_written_and_told_of_once(tmp_path: Path) -> None:
    said: list[str] = []
    looks = 0

    def look() -> bool:
        nonlocal looks
        looks += 1
        if looks == 3:
            (tmp_path / "folder").mkdir()
        return False

    path = tmp_path / "folder" / "file"
    assert write_patiently(lambda: path.write_text("all of it"), look, said.append) == 9
    assert path.read_text() == "all of it"
    assert len(said) == 1
    assert "free some disk space" in said[0]


def test_who_gives_up_learns_what_was_wrong() -> None:
    with pytest.raises(OSError, match="No space left"), Path("/dev/full").open("wb", buffering=0) as full:
        write_patiently(lambda: full.write(b"more"), lambda: True, lambda _: None)
