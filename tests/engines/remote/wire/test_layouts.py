"""Only what was agreed becomes a tensor, and only values that can be trained on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from torch import Tensor

from sglr.core.errors import ExtremeValues
from sglr.engines.remote.wire.frames import DTYPES, Frame, Malformed, decode, encode
from sglr.engines.remote.wire.layouts import check_layout, check_numbers, read, read_into
from sglr.engines.remote.wire.messages_pb2 import DType

from .made_up import KINDS, PLENTY, announced, draw_tensor, frame_of, layout_of, message, named_tensors

FLOATS = [dtype for dtype in DTYPES.values() if dtype.is_floating_point]


def received(sent: dict[str, Tensor]) -> Frame:
    return decode(encode(message(), sent), PLENTY, KINDS)


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Compare NaN with NaN as well."""
    flat = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in (left, right)]
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(*flat)


@given(named_tensors)
def test_tensors_come_back_bit_for_bit(sent: dict[str, Tensor]) -> None:
    came = read(received(sent), layout_of(sent), finite=False)
    assert list(came) == list(sent)
    assert all(same_bits(came[name], sent[name]) for name in sent)


@given(named_tensors)
def test_read_into_copies_the_same_bits(sent: dict[str, Tensor]) -> None:
    frame = received(sent)
    for name, tensor in sent.items():
        rows = torch.zeros((3, *tensor.shape), dtype=tensor.dtype)
        read_into(frame, name, rows[1], finite=False)
        assert same_bits(rows[1], tensor)
        assert not rows[::2].any()


def test_read_into_reaches_a_place_that_is_not_contiguous() -> None:
    rows = torch.zeros(2, 3, 4)
    read_into(received({"x": torch.ones(2, 4)}), "x", rows[:, 1])
    assert torch.equal(rows[:, 1], torch.ones(2, 4))
    assert rows.sum() == 8


def test_what_is_read_is_a_copy_aligned_as_torch_aligns() -> None:
    # Sums over memory that starts elsewhere may be rounded differently: steps would no longer be bit-identical.
    data = encode(message(), {"odd": torch.ones(3, dtype=torch.uint8), "x": torch.ones(5)})
    tensor = read(decode(data, PLENTY, KINDS), {"odd": (torch.uint8, (3,)), "x": (torch.float32, (5,))})["x"]
    assert tensor.data_ptr() % torch.empty(5).element_size() == 0
    assert tensor.data_ptr() % 64 == 0
    tensor.zero_()
    assert encode(message(), {"odd": torch.ones(3, dtype=torch.uint8), "x": torch.ones(5)}) == data


def test_the_order_of_tensors_is_free() -> None:
    frame = received({"b": torch.ones(2), "a": torch.zeros(1)})
    assert torch.equal(read(frame, {"a": (torch.float32, (1,)), "b": (torch.float32, (2,))})["b"], torch.ones(2))


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "reason"),
    [
        ("x", torch.float32, (2, 4), r"tensor 'x': expected torch.float32 \[2, 4\], got torch.float32 \[2, 3\]"),
        ("x", torch.float32, (6,), r"expected torch.float32 \[6\]"),
        ("x", torch.int32, (2, 3), r"expected torch.int32 \[2, 3\], got torch.float32 \[2, 3\]"),
        ("y", torch.float32, (2, 3), "'y'"),
    ],
)
def test_another_tensor_than_agreed_is_rejected(
    name: str, dtype: torch.dtype, shape: tuple[int, ...], reason: str
) -> None:
    frame = received({"x": torch.ones(2, 3)})
    with pytest.raises(Malformed, match=reason):
        read(frame, {name: (dtype, shape)})
    out = torch.full(shape, 5, dtype=dtype)
    with pytest.raises(Malformed, match=reason):
        read_into(frame, name, out)
    assert (out == 5).all()


def test_missing_and_unknown_tensors_are_named_without_flooding_the_log() -> None:
    frame = received({f"n{number}": torch.ones(1) for number in range(9)})
    with pytest.raises(Malformed, match=r"missing 'x'; unknown 'n1', 'n2', 'n3' and 5 more"):
        check_layout(frame, {"n0": (torch.float32, (1,)), "x": (torch.float32, (1,))})


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_rejected_and_leave_zeros(dtype: torch.dtype, value: float) -> None:
    sent = {"x": torch.ones(5, 7, dtype=dtype)}
    sent["x"][2, 3] = value
    frame = received(sent)
    with pytest.raises(ExtremeValues, match="tensor 'x': expected finite numbers"):
        read(frame, layout_of(sent))
    rows = torch.ones(2, 5, 7, dtype=dtype)
    with pytest.raises(ExtremeValues, match="finite"):
        read_into(frame, "x", rows[0])
    assert not rows[0].any()
    assert rows[1].all()
    assert same_bits(read(frame, layout_of(sent), finite=False)["x"], sent["x"])
    with pytest.raises(ExtremeValues, match="norm"):
        read(frame, layout_of(sent), finite=False, most_norm=1e300)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_largest_numbers_are_finite_though_their_squares_are_not(dtype: torch.dtype) -> None:
    sent = {"x": torch.full((3, 3), torch.finfo(dtype).max, dtype=dtype)}
    assert same_bits(read(received(sent), layout_of(sent))["x"], sent["x"])
    with pytest.raises(ExtremeValues, match="norm of at most 1000"):
        read(received(sent), layout_of(sent), most_norm=1000)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_norm_above_the_limit_is_rejected(dtype: torch.dtype) -> None:
    sent = {"x": torch.tensor([[3.0, 0.0], [0.0, 4.0]], dtype=dtype)}
    read(received(sent), layout_of(sent), most_norm=5)
    with pytest.raises(ExtremeValues, match=r"tensor 'x': expected a norm of at most 4.9, got a greater one"):
        read(received(sent), layout_of(sent), most_norm=4.9)


def test_integers_have_no_norm() -> None:
    sent = {"x": torch.tensor([100])}
    assert read(received(sent), layout_of(sent), most_norm=1)["x"].item() == 100


def test_a_byte_that_is_neither_true_nor_false_is_rejected() -> None:
    frame = decode(frame_of(announced(DType.BOOL, (2,), 2, "kept"), b"\x01\x02"), PLENTY, KINDS)
    with pytest.raises(Malformed, match="neither true nor false"):
        read(frame, {"kept": (torch.bool, (2,))}, finite=False)


def test_labels_are_class_indices() -> None:
    check_numbers(torch.arange(10), 10)
    check_numbers(torch.empty(0, dtype=torch.int64), 10)
    for wrong in (-1, 10, 2**62):
        with pytest.raises(Malformed, match="a label is outside 0 to 9"):
            check_numbers(torch.tensor([3, wrong]), 10)
    with pytest.raises(Malformed, match="a label is outside 0 to 9"):
        check_numbers(torch.tensor([[3, 255], [3, -100]], dtype=torch.int64), 10, {-100})
    check_numbers(torch.tensor([[3, 255], [3, 0]], dtype=torch.uint8), 10, {255})


def test_empty_and_scalar_tensors_are_checked_like_others() -> None:
    for dtype in FLOATS:
        empty = {"x": draw_tensor(dtype, (0, 3), 0)}
        assert read(received(empty), layout_of(empty), most_norm=0)["x"].shape == (0, 3)
        scalar = {"x": torch.tensor(float("nan"), dtype=dtype)}
        with pytest.raises(ExtremeValues, match="finite"):
            read(received(scalar), layout_of(scalar))
