"""Where clients that don't take part are: by their number, their size and the memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sglr.client_store.capacity import MemoryBudget, bytes_of
from sglr.core.errors import UsageError
from sglr.core.optim import OptimizerSpec
from sglr.system.machine import memory_of

GIGABYTE = 10**9


@given(
    clients=st.integers(1, 10**6),
    share=st.floats(0.0001, 1),
    each=st.integers(0, 10**8),
    wanted=st.sampled_from(["auto", "memory", "disk"]),
)
def test_what_is_chosen_fits(clients: int, share: float, each: int, wanted: str) -> None:
    at_work = max(1, round(share * clients))
    crowd = MemoryBudget(clients, at_work, at_work, each, 8 * GIGABYTE)
    try:
        chosen = crowd.store(wanted)
    except UsageError:
        assert (clients if wanted == "memory" else at_work) * each > crowd.memory
        return
    assert (clients if chosen == "memory" else at_work) * each <= crowd.memory
    assert chosen == wanted or wanted == "auto" or at_work == clients


@pytest.mark.parametrize(
    ("clients", "at_work", "each", "wanted"),
    [
        (20, 20, 10**6, "memory"),
        (100, 10, 10**6, "memory"),
        (100, 10, 10**8, "disk"),
        (100_000, 100, 10**3, "disk"),
        (100_000, 100_000, 10**3, "memory"),
    ],
    ids=["the paper's", "few", "large ones", "many", "all at work"],
)
def test_left_to_itself(clients: int, at_work: int, each: int, wanted: str) -> None:
    assert MemoryBudget(clients, at_work, at_work, each, 8 * GIGABYTE).store("auto") == wanted


def test_what_does_not_fit_is_refused_with_figures() -> None:
    with pytest.raises(UsageError, match=r"1000 clients need 100 GB of 8 GB of memory; give --client-store disk"):
        MemoryBudget(1000, 10, 10, 10**8, 8 * GIGABYTE).store("memory")
    with pytest.raises(UsageError, match=r"500 clients that step together need 50 GB of 8 GB.*--participation"):
        MemoryBudget(1000, 500, 500, 10**8, 8 * GIGABYTE).store("disk")
    with pytest.raises(UsageError, match=r"1000 copies of the server's segment need 10 GB of 8 GB.*such as sfl"):
        MemoryBudget(1000, 1, 1, 0, 8 * GIGABYTE).require_copies(10**7, "sflv1")


@pytest.mark.parametrize(
    ("optimizer", "copies"), [("sgd", 1), ("sgd:momentum=0.9", 2), ("adam", 3), ("adam:amsgrad=True", 4)]
)
def test_bytes_of_a_client_are_weights_and_what_its_optimizer_remembers(optimizer: str, copies: int) -> None:
    segment = nn.Sequential(nn.Linear(100, 50, bias=False), nn.BatchNorm1d(50, affine=False))
    buffers = 50 * 4 * 2 + 8
    steps = 4 if optimizer.startswith("adam") else 0
    assert bytes_of(segment, OptimizerSpec.parse(optimizer)) == 20_000 * copies + buffers + steps


def test_the_memory_is_some() -> None:
    assert 10**8 < memory_of(torch.device("cpu")) < 10**14
