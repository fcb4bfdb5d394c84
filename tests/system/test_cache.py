"""What is remembered on a machine: the first to write decides, and what is damaged does not matter."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sglr.system.cache import cache_folder, recall, remember

ABOUT = {"device": "some processor", "inputs": [4, 8]}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGLR_CACHE_DIR", str(tmp_path / "cache"))


def test_what_is_remembered_is_recalled_for_the_same_question_alone() -> None:
    assert recall("stacking", ABOUT) is None
    assert remember("stacking", ABOUT, {"form": "looped"}) == {"form": "looped"}
    assert recall("stacking", ABOUT) == {"form": "looped"}
    assert recall("stacking", {**ABOUT, "inputs": [4, 9]}) is None
    assert recall("else", ABOUT) is None


def test_the_first_to_remember_decides_for_all() -> None:
    def write(number: int) -> dict[str, int]:
        return remember("stacking", ABOUT, {"number": number})

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(write, range(64)))
    assert all(each == recall("stacking", ABOUT) for each in found)
    assert len(list((cache_folder() / "stacking").iterdir())) == 1


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"about": 1, "found": {}}', '{"found": 3}'])
def test_a_damaged_file_is_as_good_as_none(damage: str) -> None:
    remember("stacking", ABOUT, {"form": "looped"})
    (file,) = (cache_folder() / "stacking").iterdir()
    file.write_text(damage)
    assert recall("stacking", ABOUT) is None
    assert remember("stacking", ABOUT, {"form": "stacked"}) == {"form": "stacked"}
    assert recall("stacking", ABOUT) == {"form": "stacked"}
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_that_cannot_be_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SGLR_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert remember("stacking", ABOUT, {"form": "looped"}) == {"form": "looped"}
    assert recall("stacking", ABOUT) is None


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms have other folders")
def test_the_folder_is_the_platforms_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SGLR_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "sglr"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "sglr"
