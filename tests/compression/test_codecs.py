"""Codes of smashed data and gradients: what they keep, what they cost, and what a receiver refuses."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sglr.compression.codecs import GROUP, SMALL_CHANNEL, Bfloat16, FewLevels, Float16, Int2, Int4, Int8, TopK
from sglr.compression.each_way import EachWay
from sglr.compression.error_feedback import parse
from sglr.core.codec import Codec, Plain
from sglr.core.errors import UsageError

CODECS: list[Codec] = [
    Plain(),
    Bfloat16(),
    Float16(),
    Int8(),
    Int4(),
    Int2(),
    EachWay.of(Int4(), TopK()),
    TopK(),
    TopK(share=0.4),
    TopK(share=1.0),
]
every_codec = pytest.mark.parametrize("codec", CODECS, ids=repr)
SHAPES = st.one_of(
    st.tuples(st.integers(0, 4)),
    st.tuples(st.integers(0, 4), st.integers(1, 40)),
    st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 50)),
    st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
)
SEEDS = st.integers(0, 2**31)
EXPONENTS = st.integers(-30, 30)


def draw(shape: tuple[int, ...], seed: int, exponent: int = 0) -> Tensor:
    """Draw normal values times 2^exponent."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2.0**exponent


# What they keep.


@given(shape=SHAPES, seed=SEEDS, exponent=EXPONENTS)
def test_bf16_keeps_eight_bits(shape, seed, exponent) -> None:
    values = draw(shape, seed, exponent)
    assert ((Bfloat16().received(values) - values).abs() <= values.abs() * 2**-8).all()


@given(shape=SHAPES, seed=SEEDS, exponent=EXPONENTS)
def test_fp16_keeps_eleven_bits_at_any_scale(shape, seed, exponent) -> None:
    values = draw(shape, seed, exponent)
    error = (Float16().received(values) - values).abs()
    if values.numel():
        # Values far below the sample's largest are spaced evenly: 2^-24 at a scale of at least largest / 2^15.
        largest = values.reshape(len(values), -1).abs().amax(1).reshape(-1, *(1,) * (values.dim() - 1))
        assert (error <= (values.abs() * 2**-11).maximum(largest * 2**-38)).all()


def test_fp16_holds_what_plain_fp16_does_not() -> None:
    values = torch.tensor([[1e-7, 3e-8], [3e5, -1e38]])
    assert not torch.allclose(values.half().float(), values, rtol=1e-3)
    received = Float16().received(values)
    torch.testing.assert_close(received[0], values[0], rtol=2**-11, atol=0.0)
    torch.testing.assert_close(received[1, 1], values[1, 1], rtol=2**-11, atol=0.0)


@given(shape=SHAPES, seed=SEEDS, exponent=EXPONENTS, rectified=st.booleans())
def test_int8_is_within_half_a_level_of_its_channel(shape, seed, exponent, rectified) -> None:
    values = draw(shape, seed, exponent)
    values = values.relu() if rectified else values
    error = (Int8().received(values) - values).abs()
    for sample, wrong in zip(values, error, strict=True):
        split = values.dim() > 2 and sample[0].numel() >= SMALL_CHANNEL
        for channel, its_error in zip(sample, wrong, strict=True) if split else [(sample, wrong)]:
            level = (channel.max().clamp(min=0) - channel.min().clamp(max=0)) / 255
            assert its_error.max() <= level * (0.5 + 1e-4)
    assert (error[values == 0] == 0).all()


def test_int8_by_hand() -> None:
    values = torch.tensor([[0.0, 1.0, 2.55, -2.55, 0.014]])
    parts = Int8().encode(values)
    # 5.1 / 255 = 0.02 between levels; zero is the one nearest to 255 / 2 above the least.
    torch.testing.assert_close(parts["scale"], torch.tensor([0.02]))
    assert parts["zero"].item() in (-1, 0)
    levels = (parts["values"].int() - parts["zero"].int()).tolist()[0]
    assert levels[:2] == [0, 50]
    assert levels[4] == 1
    assert levels[2] - levels[3] == 255


# bfloat16 has eight bits of a scale: the outermost values may be so much farther from their level.
@pytest.mark.parametrize(("codec", "off"), [(Int4(), 1e-4), (Int2(), 3 * 2**-8)])
@given(shape=SHAPES, seed=SEEDS, exponent=EXPONENTS, rectified=st.booleans())
def test_few_levels_are_within_half_a_level_of_their_group(codec, off, shape, seed, exponent, rectified) -> None:
    values = draw(shape, seed, exponent)
    values = values.relu() if rectified else values
    error = (codec.received(values) - values).abs()
    for sample, wrong in zip(values, error, strict=True):
        for group, its_error in zip(sample.flatten().split(GROUP), wrong.flatten().split(GROUP), strict=True):
            level = (group.max().clamp(min=0) - group.min().clamp(max=0)) / (2**codec.bits - 1)
            assert its_error.max() <= level * (0.5 + off)
    assert (error[values == 0] == 0).all()


def test_int4_by_hand() -> None:
    """Three values: 3.0 / 15 = 0.2 between levels, zero is the fifth, and two levels are in a byte, the first below."""
    parts = Int4().encode(torch.tensor([[0.5, -1.0, 2.0]]))
    torch.testing.assert_close(parts["scale"], torch.tensor([[0.2]]))
    assert parts["zero"].tolist() == [[5]]
    # 0.5 / 0.2 = 2.5, of which the even neighbour is 2: level 7; -1.0: level 0; 2.0: level 15, beside padding, zero.
    assert parts["values"].tolist() == [[7 + 16 * 0, 15 + 16 * 5]]
    torch.testing.assert_close(Int4().decode(parts, (1, 3)), torch.tensor([[0.4, -1.0, 2.0]]))


def test_int2_by_hand() -> None:
    """Five values: 3.0 / 3 = 1 between levels, zero is the second, and four levels are in a byte, the first lowest."""
    parts = Int2().encode(torch.tensor([[0.4, -1.0, 2.0, 0.6, 0.0]]))
    assert parts["scale"].dtype == torch.bfloat16
    assert parts["scale"].tolist() == [[1.0]]
    assert parts["zero"].tolist() == [[1]]
    assert parts["values"].tolist() == [[1 + 4 * 0 + 16 * 3 + 64 * 2, 1 + 4 * 1 + 16 * 1 + 64 * 1]]
    torch.testing.assert_close(Int2().decode(parts, (1, 5)), torch.tensor([[0.0, -1.0, 2.0, 1.0, 0.0]]))


@pytest.mark.parametrize("codec", [Int4(), Int2()])
@given(shape=SHAPES, seed=SEEDS)
def test_few_levels_arrive_as_they_are_said_to(codec: FewLevels, shape, seed) -> None:
    values = draw(shape, seed)
    assert torch.equal(codec.received(values), codec.decode(codec.encode(values), shape))


def test_few_levels_take_as_many_bytes_as_is_told() -> None:
    assert Int4().bytes((1, 3136)) == 3136 // 2 + 5 * 49
    assert Int2().bytes((1, 3136)) == 3136 // 4 + 3 * 49


def test_each_way_has_a_code_of_its_own() -> None:
    codec, values = parse("up=int8:feedback=true,down=topk:0.5,feedback=true"), draw((2, 40), 0)
    assert codec == EachWay.of(Int8(feedback=True), TopK(share=0.5, feedback=True))
    assert torch.equal(codec.received(values), Int8().received(values))
    assert torch.equal(codec.of_gradients.received(values), TopK(share=0.5).received(values))
    assert not parse("up=int8").exact
    assert parse("up=int8").of_gradients.exact
    assert parse("down=int8").exact
    for wrong in ("up=int8,up=int4", "up=int9", "down=", "up=int8,down=bf16:feedback=true", "up=down=int8"):
        with pytest.raises(UsageError, match="compression"):
            parse(wrong)


def test_topk_by_hand() -> None:
    codec = TopK(share=0.5)
    values = torch.tensor([[[1.0, -5.0], [3.0, 0.5]], [[2.0, -2.0], [2.0, 0.0]]])
    parts = codec.encode(values)
    assert parts["indices"].tolist() == [[1, 2], [0, 1]]  # of equal magnitudes the first
    assert parts["values"].tolist() == [[-5.0, 3.0], [2.0, -2.0]]
    received = codec.decode(parts, (2, 2, 2))
    assert received.tolist() == [[[0.0, -5.0], [3.0, 0.0]], [[2.0, -2.0], [0.0, 0.0]]]


@given(shape=SHAPES, seed=SEEDS, share=st.floats(0.01, 1))
def test_topk_keeps_the_largest(shape, seed, share) -> None:
    values = draw(shape, seed)
    for sample, received in zip(values, TopK(share=share).received(values), strict=True):
        kept = received != 0
        assert kept.sum() == max(1, round(share * sample.numel()))
        assert torch.equal(received[kept], sample[kept])
        assert sample[~kept].abs().max() <= sample[kept].abs().min() if (~kept).any() else True


# What holds for all.


@every_codec
@given(shape=SHAPES, seed=SEEDS)
def test_layout_and_bytes_are_those_of_what_is_sent(codec: Codec, shape, seed) -> None:
    parts = codec.encode(draw(shape, seed))
    assert {name: (part.dtype, tuple(part.shape)) for name, part in parts.items()} == codec.layout(shape)
    assert list(parts) == list(codec.layout(shape))
    assert codec.bytes(shape) == sum(part.numel() * part.element_size() for part in parts.values())
    assert codec.decode(parts, shape).shape == shape
    assert codec.decode(parts, shape).dtype == torch.float32


@every_codec
@given(shape=SHAPES, seed=SEEDS, cut=st.integers(0, 4))
def test_a_sample_is_written_the_same_whoever_is_beside_it(codec: Codec, shape, seed, cut) -> None:
    """So batches may be joined and cut anywhere: stacked clients, padded batches, an average for shorter batches."""
    values = draw(shape, seed)
    whole = codec.encode(values)
    first, rest = codec.encode(values[:cut]), codec.encode(values[cut:])
    for name, part in whole.items():
        assert torch.equal(part, torch.cat([first[name], rest[name]]))


@every_codec
def test_padding_stays_zero(codec: Codec) -> None:
    assert not codec.received(torch.zeros(2, 3, 6, 6)).any()


@every_codec
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_layout_in_memory_makes_no_difference(codec: Codec, memory_format) -> None:
    values = draw((3, 4, 6, 6), 0)
    received = codec.received(values.contiguous(memory_format=memory_format))
    assert torch.equal(received, codec.received(values))
    assert torch.equal(codec.received(values.transpose(0, 1).contiguous().transpose(0, 1)), received)


@every_codec
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_arrives_so(codec: Codec, bad: float) -> None:
    values = draw((3, 4, 6, 6), 0)
    values[1, 2, 3, 4] = bad
    finite = codec.received(values).isfinite().flatten(1).all(1)
    assert finite.tolist() == [True, False, True]


@every_codec
@pytest.mark.parametrize("size", [1e-45, 1e-38, 3e38])
def test_values_at_the_ends_of_float32_arrive_finite(codec: Codec, size: float) -> None:
    values = draw((2, 3, 6, 6), 0).clamp(-1, 1) * size
    received = codec.received(values)
    assert received.isfinite().all()
    assert (received - values).abs().max() <= size


# What a receiver refuses.


@pytest.mark.parametrize(
    "indices", [[[0, 4]], [[-1, 2]], [[2, 1]], [[1, 1]], [[2**31 - 1, 3]], [[-(2**31), 3]]], ids=str
)
def test_topk_refuses_places_outside_and_places_named_twice(indices) -> None:
    parts = {"values": torch.ones(1, 2), "indices": torch.tensor(indices, dtype=torch.int32)}
    with pytest.raises(ValueError, match="position"):
        TopK(share=0.5).decode(parts, (1, 4))


@every_codec
def test_parts_of_another_layout_are_refused(codec: Codec) -> None:
    parts = codec.encode(draw((2, 3, 6, 6), 0))
    for name, part in parts.items():
        for wrong in (part[:1], part.flatten(), part.to(torch.float64)):
            if wrong.shape != part.shape or wrong.dtype != part.dtype:
                with pytest.raises(ValueError, match="parts are"):
                    codec.decode({**parts, name: wrong}, (2, 3, 6, 6))
        with pytest.raises(ValueError, match="parts are"):
            codec.decode({key: value for key, value in parts.items() if key != name}, (2, 3, 6, 6))
    with pytest.raises(ValueError, match="parts are"):
        codec.decode({**parts, "more": torch.zeros(1)}, (2, 3, 6, 6))
    with pytest.raises(ValueError, match="parts are"):
        codec.decode(parts, (3, 3, 6, 6))
