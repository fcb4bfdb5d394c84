"""Rows of several values are written value by value, and law 9: what is beside arrives untouched, whatever is done."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.several_values import Lines, lines
from torch import Tensor

from sglr.compression.channels import Channels
from sglr.compression.error_feedback import CODECS, parse
from sglr.core.errors import UsageError
from sglr.core.types import Average, Downlink, Uplink
from sglr.parties.defences import parse as parse_defences
from sglr.parties.packed_codec import BESIDE, packed_codec
from sglr.splitting import Crossing, crossing_of, split
from sglr.splitting.bounds import bounds_beside
from sglr.splitting.crossing import Value, halves
from sglr.splitting.nest import Nest

CODEC_TEXTS = [
    *CODECS,
    "int8:feedback=true",
    "down=int8",
    "up=int4,down=topk:0.3,feedback=true",
    "topk:0.3",
    "topk:0.3,feedback=true",
]
DEFENCES = ["noise:sigma=2", "clip:norm=0.5", "nopeek:weight=0.5+noise:sigma=1+max-norm", "quantize:bits=3"]


def crossing(*shapes: tuple[int, ...], beside: int = 3) -> Crossing:
    learned = tuple(Value(f"[{number}]", shape, torch.float32) for number, shape in enumerate(shapes))
    ids = (Value("['ids']", (beside,), torch.int64),) if beside else ()
    return Crossing(Nest(), (), learned, ids)


def rows_of(about: Crossing, count: int, numbers: Tensor) -> Tensor:
    learned = torch.randn(count, about.learned_size, generator=torch.Generator().manual_seed(1))
    return torch.cat([learned, *halves(numbers)], 1)


@pytest.mark.parametrize("text", CODEC_TEXTS)
def test_each_learned_value_is_written_in_its_own_shape(text: str) -> None:
    about, codec = crossing((2, 6, 6), (5,), beside=0), parse(text)
    rows = rows_of(about, 4, torch.zeros(4, 0, dtype=torch.int32))
    packed = packed_codec(codec, about)
    wanted = torch.cat([codec.received(rows[:, :72].reshape(4, 2, 6, 6)).flatten(1), codec.received(rows[:, 72:])], 1)
    assert torch.equal(packed.received(rows), wanted)
    assert packed.bytes((4, 77)) == codec.bytes((4, 2, 6, 6)) + codec.bytes((4, 5))
    if codec.exact and codec.of_gradients.exact:
        assert packed is codec


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(CODEC_TEXTS), st.lists(st.integers(-(2**31), 2**31 - 1), min_size=6, max_size=6))
def test_law_9_integers_arrive_untouched_under_every_codec(text: str, numbers: list[int]) -> None:
    about = crossing((2, 6, 6), (5,))
    sent = torch.tensor(numbers, dtype=torch.int32).reshape(2, 3)
    rows = rows_of(about, 2, sent)
    codec = packed_codec(parse(text), about)
    assert codec.exact == parse(text).exact
    assert torch.equal(codec.encode(rows)[BESIDE], sent)
    assert torch.equal(codec.received(rows)[:, about.learned_size :], rows[:, about.learned_size :])
    for _ in range(3):  # with the memory of what was lost before
        channels = Channels(codec)
        arrived = channels.received(Uplink(rows[None], None, (0,), (2,))).smashed[0]
        assert torch.equal(arrived[:, about.learned_size :], rows[:, about.learned_size :])
    assert BESIDE not in codec.of_gradients.layout((2, rows.shape[1]))
    own = codec.bytes((2, rows.shape[1])) - codec.bytes_beside((2, rows.shape[1]))
    assert codec.bytes_beside((2, rows.shape[1])) == 2 * 3 * 4
    assert own == parse(text).bytes((2, 2, 6, 6)) + parse(text).bytes((2, 5))
    assert not codec.of_gradients.received(rows)[:, about.learned_size :].any()


@pytest.mark.parametrize("text", CODEC_TEXTS)
@pytest.mark.parametrize("by_position", [True, False])
def test_gradients_are_written_without_what_is_beside(text: str, by_position: bool) -> None:
    about = crossing((5,), (3,))
    gradients = torch.zeros(2, 4, 14)
    gradients[..., :8] = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    mean = gradients.mean(0)
    downlink = Downlink(gradients, Average((0, 1), mean, by_position=by_position))
    arrived = Channels(packed_codec(parse(text), about)).delivered(downlink, (0, 1), (4, 4)).gradients
    assert arrived is not None
    assert arrived.shape == gradients.shape
    assert not arrived[..., 8:].any()


@pytest.mark.parametrize("text", DEFENCES)
def test_law_9_defences_change_what_is_learned_and_nothing_beside_it(text: str) -> None:
    about = crossing((4,), (2, 2))
    rows = rows_of(about, 3, torch.arange(9, dtype=torch.int32).reshape(3, 3) * 99_999)
    chain, plain = parse_defences(text).over(about), parse_defences(text)
    sent = chain.send(rows[None], (0,), (3,), 0, 0)[0]
    assert torch.equal(sent[:, 8:], rows[:, 8:])
    assert torch.equal(sent[:, :8], plain.send(rows[None, :, :8], (0,), (3,), 0, 0)[0])
    scored = chain.scored(rows[None], (0,), 0)[0]
    assert torch.equal(scored[:, 8:], rows[:, 8:])
    extra = chain.extra_gradient(torch.randn(1, 3, 5), rows[None])[0]
    assert not extra[:, 8:].any()


@pytest.mark.parametrize("text", ["clip:norm=0.5", "max-norm+clip:norm=0.1"])
def test_a_defences_layer_leaves_what_is_beside(text: str) -> None:
    data = lines()
    lower, upper = split(Lines(), "mix", data.train.tensor[:2])
    covered = parse_defences(text).covered(lower)
    before, after = lower(data.train.tensor), covered(data.train.tensor)
    about = crossing_of(covered)
    assert about is not None
    assert torch.equal(before[:, about.learned_size :], after[:, about.learned_size :])
    assert torch.isfinite(upper(after)).all()


def test_numbers_that_the_server_cannot_take_are_refused() -> None:
    data = lines()
    lower, upper = split(Lines(vocabulary=30), "mix", data.train.tensor[:2])
    about = crossing_of(lower)
    rows = lower(data.train.tensor[:4]).detach()
    bounds = bounds_beside(upper, about, rows[:2])
    assert dict(zip([value.dtype for value in about.beside], bounds, strict=True)) == {
        torch.int64: (0, 29),
        torch.bool: (0, 1),
    }
    codec = packed_codec(parse("int8"), about, bounds)
    parts = codec.encode(rows)
    torch.testing.assert_close(codec.decode(parts, tuple(rows.shape))[:, 42:], rows[:, 42:], rtol=0, atol=0)
    for bad in (-1, 30, 2**31 - 1):
        wrong = parts[BESIDE].clone()
        wrong[1, 2] = bad
        with pytest.raises(ValueError, match="is outside 0 to"):
            codec.decode({**parts, BESIDE: wrong}, tuple(rows.shape))


def test_a_mask_of_floats_that_are_no_numbers_is_refused() -> None:
    about = crossing((2,), beside=0)
    about = replace(about, beside=(Value("bias", (2,), torch.float32),))
    mask = torch.tensor([[0.0, -torch.inf], [1e9, 0.5]])
    rows = torch.cat([torch.zeros(2, 2), *halves(mask.view(torch.int32))], 1)
    codec = packed_codec(parse("none"), about, ((-(2**31), 2**31 - 1),))
    parts = codec.encode(rows)
    assert torch.equal(codec.decode(parts, (2, 6)), rows)
    parts[BESIDE] = torch.full((2, 2), torch.nan).view(torch.int32)
    with pytest.raises(ValueError, match="bias is not a number"):
        codec.decode(parts, (2, 6))


@pytest.mark.parametrize("text", ["none", "int8"])
def test_integers_beyond_32_bits_that_appear_later_are_refused_by_name(text: str) -> None:
    ids = Value("['ids']", (2,), torch.int64)
    about = Crossing(
        Nest.of({"x": 0, "ids": 0}),
        (Value("['x']", (1,), torch.float32), ids),
        (Value("['x']", (1,), torch.float32),),
        (ids,),
    )
    fits = {"x": torch.ones(2, 1), "ids": torch.tensor([[2**31 - 1, -(2**31)], [0, 1]])}
    codec = packed_codec(parse(text), about)
    found = about.unpack(codec.received(about.pack(fits)))
    assert torch.equal(found["ids"], fits["ids"])
    together = torch.func.vmap(about.pack)({name: torch.stack([each, each]) for name, each in fits.items()})
    assert torch.equal(together[1], about.pack(fits))
    for wrong in (2**31, -(2**31) - 1, 2**40):
        rows = about.pack({**fits, "ids": torch.tensor([[0, 1], [0, wrong]])})
        with pytest.raises(UsageError, match=r"cut = \['ids'\] int64 \[2\]: .* does not fit in 32 bits"):
            codec.received(rows)
