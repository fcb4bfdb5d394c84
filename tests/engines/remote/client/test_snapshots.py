"""A client keeps what the server may ask for again, and nothing of steps that are to be taken anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sglr.core.errors import DamagedCheckpoint, NotRead
from sglr.engines.remote.client.snapshots import Snapshots


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.tensor([value])}


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "snapshots", "run", 3)


def test_the_newest_stay_and_the_best(snapshots):
    for step in range(6):
        snapshots.write(step, tensors(step), best=step == 1)
    assert snapshots.steps() == [1, 3, 4, 5]
    assert snapshots.newest() == tensors(5)


def test_after_going_back_steps_of_before_are_gone(snapshots):
    for step in (2, 4, 6, 8):
        snapshots.write(step, tensors(step), best=False)
    digest = snapshots.write(5, tensors(50), best=False)
    assert snapshots.steps() == [4, 5]
    assert snapshots.newest() == snapshots.read(5, digest) == tensors(50)


def test_a_torn_one_is_passed_over_and_another_than_wanted_refused(snapshots):
    digests = [snapshots.write(step, tensors(step), best=False) for step in (1, 2)]
    newest = snapshots.folder / "step-000000002.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert snapshots.newest() == tensors(1)
    with pytest.raises(DamagedCheckpoint, match="cannot be read"):
        snapshots.read(2, digests[1])
    with pytest.raises(DamagedCheckpoint, match="differs from the server's record"):
        snapshots.read(1, digests[1])
    with pytest.raises(DamagedCheckpoint, match="of another run"):
        Snapshots(snapshots.folder, "another", 3).read(1)


def test_one_that_cannot_be_read_is_no_reason_to_pass_it_over(snapshots):
    for step in (1, 2):
        snapshots.write(step, tensors(step), best=False)
    newest = snapshots.folder / "step-000000002.safetensors"
    aside = newest.rename(snapshots.folder / "aside")
    newest.symlink_to(newest)
    with pytest.raises(NotRead, match=r"cannot be read \(Too many levels"):
        snapshots.newest()
    newest.unlink()
    aside.rename(newest)
    assert snapshots.newest() == tensors(2)


def test_the_best_is_not_dropped_while_it_cannot_be_read_which_it_is(snapshots):
    snapshots.write(0, tensors(0), best=True)
    best = snapshots.folder / "best"
    aside = best.rename(snapshots.folder / "aside")
    best.symlink_to(best)
    for step in range(1, 6):
        snapshots.write(step, tensors(step), best=False)
    best.unlink()
    aside.rename(best)
    snapshots.write(6, tensors(6), best=False)
    assert snapshots.steps() == [0, 4, 5, 6]
