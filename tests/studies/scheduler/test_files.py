"""Run folders that travel: whole or not at all."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sglr.studies.scheduler.files import pack, tidy, unpack

NAMES = st.sampled_from(["config.toml", "metrics.jsonl", "checkpoints/step-1.safetensors", "checkpoints/best"])
FILES = st.dictionaries(NAMES, st.binary(max_size=20), min_size=1)


@given(FILES, FILES)
def test_what_is_packed_is_what_was_unpacked_last(tmp_path_factory, before, after) -> None:
    folder = tmp_path_factory.mktemp("files") / "run"
    assert pack(folder) == {}
    for files in (before, after):
        unpack(folder, files)
        assert pack(folder) == files
    assert [path.name for path in folder.parent.iterdir()] == ["run"]


def test_half_written_files_stay_where_they_are(tmp_path: Path) -> None:
    unpack(tmp_path / "run", {"a": b"1"})
    (tmp_path / "run" / ".a.partial").write_bytes(b"2")
    assert pack(tmp_path / "run") == {"a": b"1"}


def test_a_kill_while_writing_leaves_the_old_files_or_the_new(tmp_path: Path) -> None:
    run, old, partial = (tmp_path / name for name in ("run", ".run.old", ".run.partial"))
    unpack(run, {"a": b"1"})
    partial.mkdir()
    (partial / "a").write_bytes(b"half")
    tidy(run)
    assert pack(run) == {"a": b"1"}
    run.replace(old)  # killed between two renames
    partial.mkdir()
    tidy(run)
    assert pack(run) == {"a": b"1"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
