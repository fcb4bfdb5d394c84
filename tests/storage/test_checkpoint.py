"""Checkpoints come back as they were written, or not at all."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sglr.core.errors import DamagedCheckpoint, NotRead
from sglr.storage import checkpoint
from sglr.storage.checkpoint import digest, read_checkpoint, write_checkpoint

TENSORS = {
    "w": torch.tensor([[1.0, float("nan")], [-0.0, float("inf")]]),
    "count": torch.tensor(7),
    "empty": torch.zeros(0, 3),
    "half": torch.ones(2, dtype=torch.float16),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
}
STATE = {"epoch": 3, "best": None, "nested": {"up": [1, 2]}}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "step-1.safetensors"
    write_checkpoint(path, TENSORS, STATE)
    return path


def test_what_was_written_is_read_to_the_bit(written: Path) -> None:
    tensors, state = read_checkpoint(written)
    assert state == STATE
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor.nan_to_num(5.0), TENSORS[name].nan_to_num(5.0))
    assert digest(tensors) == digest(TENSORS)


def test_nothing_but_the_checkpoint_is_left_and_it_is_replaced(written: Path) -> None:
    write_checkpoint(written, {"w": torch.zeros(1)}, {})
    assert list(written.parent.iterdir()) == [written]
    assert read_checkpoint(written)[0]["w"].tolist() == [0.0]


@settings(max_examples=40)
@given(st.data())
def test_any_torn_or_flipped_file_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("checkpoint") / "c.safetensors"
    write_checkpoint(path, TENSORS, STATE)
    whole = path.read_bytes()
    if data.draw(st.booleans(), "torn"):
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    else:
        body = len(whole) - sum(t.numel() * t.element_size() for t in TENSORS.values())
        place = data.draw(st.integers(body, len(whole) - 1))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(bytes(flipped))
    with pytest.raises(DamagedCheckpoint, match=r"c\.safetensors: "):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x80\x04.", b"x" * 100])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match=r"cannot be read as a checkpoint"):
        read_checkpoint(path)
    with pytest.raises(DamagedCheckpoint, match="there is no such file"):
        read_checkpoint(tmp_path / "missing.safetensors")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_file_that_cannot_be_read_just_now_is_not_called_damaged(
    code: int, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", failing)
        with pytest.raises(NotRead, match="nothing was deleted") as found:
            read_checkpoint(written)
    assert os.strerror(code) in str(found.value)
    assert read_checkpoint(written)[1] == STATE


@pytest.mark.skipif(os.geteuid() != 0, reason="it becomes another user for a moment, for which it must be root")
def test_a_file_of_another_user_is_not_called_damaged(written: Path) -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(NotRead, match=r"cannot be read \(Permission denied\); nothing was deleted"):
            read_checkpoint(written)
    finally:
        os.seteuid(0)


def test_want_of_memory_and_of_descriptors_is_no_damage(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (RuntimeError("can't allocate memory"), FileNotFoundError("No such file or directory: c")):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "safe_open", partial(_raise, error))
            with pytest.raises(NotRead, match="nothing was deleted"):
                read_checkpoint(written)


def _raise(error: Exception, *_: object, **__: object) -> None:
    raise error


def test_a_digest_depends_on_names_shapes_types_and_values() -> None:
    base = {"a": torch.zeros(2, 2)}
    others = [{"b": torch.zeros(2, 2)}, {"a": torch.zeros(4)}, {"a": torch.zeros(2, 2).int()}, {"a": torch.eye(2)}]
    assert len({digest(tensors) for tensors in [base, *others]}) == 5
    assert digest({"a": torch.zeros(1), "b": torch.ones(1)}) == digest({"b": torch.ones(1), "a": torch.zeros(1)})
