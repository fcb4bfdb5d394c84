"""Clients are divided evenly, blocks get equal shares that fit, and a run's division is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.errors import UsageError
from sglr.engines.ray.layout import (
    BLOCKS,
    Node,
    divide,
    largest_share,
    number_of_blocks,
    read_layout,
    write_layout,
)
from sglr.engines.ray.memory_profile import MemoryProfile
from sglr.engines.ray.sizing import design, uses_gpus

GIB = 1 << 30
SMALL = MemoryProfile(fixed=1000, each=10)


@given(st.integers(1, 500), st.data())
def test_everyone_is_in_one_block_beside_its_neighbours(clients: int, data: st.DataObject) -> None:
    blocks = divide(clients, data.draw(st.integers(1, clients)))
    assert [client for block in blocks for client in block] == list(range(clients))
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


@given(st.lists(st.integers(0, 64), min_size=1, max_size=6), st.integers(1, 100))
def test_shares_fit_and_no_larger_one_does(offers: list[int], blocks: int) -> None:
    share = largest_share(offers, blocks)
    if not sum(offers):
        assert share == 0
        return
    # Ray counts in ten-thousandths; a share of 1/m fits m times.
    assert sum(int(offer / share + 1e-9) for offer in offers) >= blocks
    larger = share + 1 if share >= 1 else 1 / (round(1 / share) - 1)
    assert sum(int(offer / larger + 1e-9) for offer in offers) < blocks


def test_a_block_for_every_processor_or_gpu_or_of_the_size_that_is_asked_for() -> None:
    nodes = [Node(8, 2, GIB), Node(4, 0, GIB)]
    assert number_of_blocks(100, None, nodes, on_gpus=False) == 12
    assert number_of_blocks(100, None, nodes, on_gpus=True) == 2
    assert number_of_blocks(5, None, nodes, on_gpus=False) == 5
    assert number_of_blocks(100, 30, nodes, on_gpus=False) == 4


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_division_is_kept_in_the_folder(tmp_path_factory, clients: int, block_clients: int) -> None:
    folder = tmp_path_factory.mktemp("run")
    assert read_layout(folder, clients) is None
    blocks = divide(clients, -(-clients // block_clients))
    write_layout(folder, blocks)
    assert read_layout(folder, clients) == blocks


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"clients": 4, "first": [1]}', '{"clients": 5, "first": [0]}', '{"clients": 4, "first": [0, 9]}'],
)
def test_a_damaged_division_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / BLOCKS).write_text(text)
    with pytest.raises(UsageError, match=BLOCKS):
        read_layout(tmp_path, 4)


def test_a_run_that_goes_on_keeps_its_blocks_on_another_cluster() -> None:
    before = ((0, 1, 2), (3, 4))
    found = design([Node(16, 0, GIB)], 5, None, SMALL, on_gpus=False, blocks=before)
    assert found.blocks == before and found.share.cpus == 8


def test_blocks_that_do_not_fit_are_refused_with_what_a_client_needs() -> None:
    with pytest.raises(UsageError, match=r"2 blocks of up to 50 clients need 50 GiB each .* 1 GiB for every client"):
        design([Node(2, 0, 64 * GIB)], 100, None, MemoryProfile(0, GIB), on_gpus=False)


def test_a_gpu_too_small_for_one_client_is_refused() -> None:
    with pytest.raises(UsageError, match=r"one client needs 5 GiB, and the GPU has 4 GiB free; give a smaller --batch"):
        design([Node(2, 1, GIB)], 2, None, MemoryProfile(GIB, 4 * GIB, free=4 * GIB), on_gpus=True)
    with pytest.raises(UsageError, match=r"blocks of one GPU need 9 GiB"):
        design([Node(2, 1, GIB)], 2, None, MemoryProfile(GIB, 4 * GIB, free=8 * GIB), on_gpus=True)


def test_gpus_are_used_if_there_are_some_and_asked_for_only_then() -> None:
    with_gpu, without = [Node(2, 1, GIB)], [Node(2, 0, GIB)]
    assert uses_gpus("auto", with_gpu) and uses_gpus("cuda", with_gpu) and not uses_gpus("cpu", with_gpu)
    assert not uses_gpus("auto", without)
    with pytest.raises(UsageError, match="no machine of the cluster has a GPU"):
        uses_gpus("cuda", without)


def test_a_cluster_without_processors_is_refused() -> None:
    with pytest.raises(UsageError, match="no processor"):
        design([Node(0, 0, GIB)], 2, None, SMALL, on_gpus=False)
