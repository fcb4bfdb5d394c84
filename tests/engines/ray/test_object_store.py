"""Tensors cross as arrays, with their values, types and layout, and without a copy where they lie densely."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sglr.engines.ray.object_store import receive, send

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4, 5)])
def test_what_arrives_is_what_was_sent(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    values = (torch.rand(shape) * 5).to(dtype)
    found = receive(send(values))
    assert found.dtype == dtype and torch.equal(found, values)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1)])
def test_an_expanded_tensor_arrives_as_an_ordinary_one(shape: tuple[int, ...]) -> None:
    values = torch.tensor(7, dtype=torch.int32).expand(shape)
    found = receive(send(values))
    assert torch.equal(found, values) and found.reshape(-1).view(torch.uint8).numel() == 4 * values.numel()


def test_channels_last_keeps_its_layout_without_a_copy() -> None:
    images = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    sent = send(images)
    assert sent.array.flags.c_contiguous and np.shares_memory(sent.array, images.numpy())
    assert receive(sent).is_contiguous(memory_format=torch.channels_last)


def test_what_may_not_be_written_to_is_received_without_a_copy_or_a_warning() -> None:
    sent = send(torch.rand(5))
    sent.array.flags.writeable = False
    assert receive(sent).data_ptr() == sent.array.__array_interface__["data"][0]


def test_a_part_of_a_tensor_is_sent_alone() -> None:
    whole = torch.rand(4, 6, 2)
    assert send(whole[1:3, :5]).array.nbytes == 2 * 5 * 2 * 4
    assert torch.equal(receive(send(whole[1:3, :5])), whole[1:3, :5])
