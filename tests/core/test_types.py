"""An uplink holds unequal batches side by side without their padding ever counting as samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.types import StepContext, Uplink

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def make_uplink(sizes: list[int], shape: tuple[int, ...]) -> tuple[Uplink, list[torch.Tensor]]:
    """Return an uplink, padded with NaN to show up where it is read, and each client's samples."""
    parts = [torch.randn(n, *shape) for n in sizes]
    smashed = torch.full((len(sizes), max(sizes), *shape), torch.nan)
    labels = torch.full((len(sizes), max(sizes)), -1)
    for i, part in enumerate(parts):
        smashed[i, : len(part)] = part
        labels[i, : len(part)] = torch.arange(len(part)) + 10 * i
    return Uplink(smashed, labels, tuple(range(0, 2 * len(sizes), 2)), tuple(sizes)), parts


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 3)], ids=["scalars", "vectors", "images"])
@given(sizes=SIZES)
def test_flattened_are_the_real_samples_client_by_client(shape: tuple[int, ...], sizes: list[int]) -> None:
    uplink, parts = make_uplink(sizes, shape)
    assert torch.equal(uplink.flatten(uplink.smashed), torch.cat(parts))
    assert uplink.flatten(uplink.labels).tolist() == [10 * i + j for i, n in enumerate(sizes) for j in range(n)]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 3)], ids=["scalars", "vectors", "images"])
@given(sizes=SIZES)
def test_unflattened_are_padded_with_zero(shape: tuple[int, ...], sizes: list[int]) -> None:
    uplink, parts = make_uplink(sizes, shape)
    back = uplink.unflatten(torch.cat(parts))
    assert torch.equal(back, uplink.smashed.nan_to_num(0.0))


@given(sizes=SIZES)
def test_the_mask_is_true_where_a_sample_is(sizes: list[int]) -> None:
    uplink, _ = make_uplink(sizes, ())
    assert torch.equal(uplink.mask, ~uplink.smashed.isnan())
    assert uplink.full == (len(set(sizes)) == 1)


@given(sizes=SIZES)
def test_one_client_alone_brings_its_samples_and_no_padding(sizes: list[int]) -> None:
    uplink, parts = make_uplink(sizes, (3,))
    for i, part in enumerate(parts):
        alone = uplink.only(i)
        assert torch.equal(alone.smashed, part[None])
        assert alone.labels.tolist() == [[10 * i + j for j in range(len(part))]]
        assert (alone.clients, alone.sizes) == ((2 * i,), (sizes[i],))


def test_the_last_step_ends_the_epoch() -> None:
    ends = [StepContext(0, 1, step, 3, np.random.default_rng()).ends_epoch for step in range(3)]
    assert ends == [False, False, True]
