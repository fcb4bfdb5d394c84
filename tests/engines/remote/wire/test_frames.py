"""A frame comes back as it was sent, and is turned away for any one thing that is wrong with it."""

from __future__ import annotations

import re
import struct
import tracemalloc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.engines.remote.wire.frames import (
    DTYPES,
    MOST_ENVELOPE,
    MOST_LIST,
    MOST_NAME,
    MOST_RANK,
    MOST_SHOWN,
    MOST_TENSORS,
    MOST_TEXT,
    Malformed,
    decode,
    encode,
    shown,
)
from sglr.engines.remote.wire.messages_pb2 import DType, Envelope

from .made_up import KINDS, PLENTY, announced, draw_tensor, frame_of, message, named_tensors


def rejected(data: bytes, reason: str, most_bytes: int = PLENTY, kinds: frozenset[str] = KINDS) -> None:
    with pytest.raises(Malformed, match=reason):
        decode(data, most_bytes, kinds)


@given(named_tensors, st.sampled_from(sorted(KINDS)))
def test_a_frame_comes_back_as_it_was_sent(sent: dict[str, Tensor], kind: str) -> None:
    envelope = message(kind)
    frame = decode(encode(envelope, sent), PLENTY, {kind})
    assert (frame.kind, frame.envelope) == (kind, envelope)
    assert [tensor.name for tensor in frame.envelope.tensors] == list(sent)
    for payload, tensor in zip(frame.payloads, sent.values(), strict=True):
        assert bytes(payload) == tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def test_the_frame_is_the_documented_one() -> None:
    envelope = message()
    data = encode(envelope, {"a": torch.tensor([1, 2], dtype=torch.int32), "b": torch.tensor(True)})
    assert data == frame_of(envelope, struct.pack("<ii?", 1, 2, True))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_strides_make_no_difference(dtype: torch.dtype) -> None:
    tensor = draw_tensor(dtype, (2, 3, 4, 4), 0)
    flat = encode(message(), {"x": tensor})
    assert encode(message(), {"x": tensor.contiguous(memory_format=torch.channels_last)}) == flat
    assert encode(message(), {"x": tensor.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)}) == flat
    assert encode(message(), {"x": torch.stack([tensor, tensor], -1)[..., 0]}) == flat


def test_a_tensor_under_training_is_sent_as_it_is() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    assert encode(message(), {"x": weight}) == encode(message(), {"x": torch.ones(2)})


def test_payloads_are_views_of_what_came() -> None:
    data = encode(message(), {"x": torch.zeros(1 << 20)})
    tracemalloc.start()
    try:
        frame = decode(data, PLENTY, KINDS)
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024
    finally:
        tracemalloc.stop()
    assert frame.payloads[0].obj is data


def test_an_envelope_is_filled_afresh() -> None:
    envelope = message()
    encode(envelope, {"x": torch.zeros(1)})
    assert len(decode(encode(envelope), PLENTY, KINDS).envelope.tensors) == 0


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (0, b"s", "not a frame of sglr"),
        (4, b"\x02", "version 2 of the protocol, this is version 1"),
        (5, b"\x01", "reserved bytes"),
        (6, b"\x01", "reserved bytes"),
        (7, b"\x01", "reserved bytes"),
        (8, struct.pack("<I", MOST_ENVELOPE + 1), "at most 262144"),
        (8, b"\xff\xff\xff\xff", "the envelope has 4294967295 bytes"),
        (8, b"\xff\x00\x00\x00", "should have 255 bytes"),
    ],
)
def test_a_wrong_header_is_rejected(place: int, value: bytes, reason: str) -> None:
    data = bytearray(encode(message()))
    data[place : place + len(value)] = value
    rejected(bytes(data), reason)


def test_every_other_length_is_rejected() -> None:
    data = encode(message(), {"x": torch.zeros(3), "y": torch.zeros(2)})
    for length in range(len(data)):
        rejected(data[:length], ".")
    rejected(data + b"\0", "need 20 bytes, 21 follow")


def test_a_frame_longer_than_agreed_is_rejected() -> None:
    data = encode(message(), {"x": torch.zeros(3)})
    assert decode(data, len(data), KINDS).kind == "smashed"
    rejected(data, f"has {len(data)} bytes, at most {len(data) - 1}", most_bytes=len(data) - 1)


def test_an_envelope_that_is_none_is_rejected() -> None:
    raw = b"\x0a\xff"
    rejected(struct.pack("<4sBBHI", b"SGLR", 1, 0, 0, len(raw)) + raw, "not a message of this protocol")


def test_an_envelope_without_a_known_message_is_rejected() -> None:
    rejected(frame_of(Envelope(seq=1)), "no message that this version knows")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x08\x01\x5a\x00\x08\x02",  # seq twice
        b"\x08\x00\x5a\x00",  # seq of zero, which is not written
        b"\x52\x00\x5a\x00",  # hello replaced by smashed
        b"\x12\x02\x08\x01\x12\x02\x10\x01\x5a\x00",  # where in two pieces
        b"\x5a\x00\xf8\x07\x01",  # an unknown field
        b"\x5a\x02\x70\x74",  # one within the message
        b"\x5a\x00\x1a\x09\x0a\x01x\x10\x05\x20\x01\x70\x74",  # one within a tensor; atheris found it
    ],
)
def test_an_envelope_says_nothing_that_is_not_seen(raw: bytes) -> None:
    rejected(struct.pack("<4sBBHI", b"SGLR", 1, 0, 0, len(raw)) + raw + b"\0", "holds more than this protocol writes")


def test_a_message_that_is_not_expected_is_rejected() -> None:
    rejected(encode(message("publish")), "publish .* expected done, smashed", kinds=frozenset({"smashed", "done"}))
    rejected(encode(message("publish")), "expected none", kinds=frozenset())


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        (announced(dtype=DType.NONE), "unknown dtype 0"),
        (announced(dtype=77), "unknown dtype 77"),
        (announced(shape=(1,) * (MOST_RANK + 1), size=4), "9 dimensions"),
        (announced(size=7), r"shape \[2\] has 8 bytes, not 7"),
        (announced(size=2**64 - 1), "not 18446744073709551615"),
        # 2^64 numbers: products that wrap around would fit.
        (announced(shape=(2**31, 2**31, 4), size=0), "73786976294838206464 bytes, not 0"),
        (announced(shape=(2**32 - 1,) * MOST_RANK, size=8), "not 8"),
        (announced(shape=(3,), size=12), "need 12 bytes, 8 follow"),
        (announced(name=""), "name of tensor 0"),
        (announced(name="x" * (MOST_NAME + 1)), "name of tensor 0"),
        (announced(name="x\nERROR all keys are lost"), "name of tensor 0"),
    ],
)
def test_a_wrong_tensor_is_rejected(envelope: Envelope, reason: str) -> None:
    rejected(frame_of(envelope, bytes(8)), reason)


def test_two_tensors_of_one_name_are_rejected() -> None:
    envelope = announced()
    envelope.tensors.append(envelope.tensors[0])
    rejected(frame_of(envelope, bytes(16)), "two tensors are called 'x'")


def test_too_many_tensors_are_rejected() -> None:
    envelope = message()
    for _ in range(MOST_TENSORS + 1):
        envelope.tensors.add()
    rejected(frame_of(envelope), "announces 4097 tensors")


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        (message("refusal", reason="x" * (MOST_TEXT + 1)), "refusal.reason is longer"),
        (message("hello", segment="é" * (MOST_TEXT + 1)), "hello.segment is longer"),
        (message("hello", snapshots=[1] * (MOST_LIST + 1)), "hello.snapshots has more than 4096 entries"),
        (message("hello", snapshots=[2**63] * 40_000), "the envelope has 4"),
    ],
)
def test_what_a_peer_would_reject_is_not_sent(envelope: Envelope, reason: str) -> None:
    rejected(frame_of(envelope), reason)
    with pytest.raises(UsageError, match=reason):
        encode(envelope)


def test_a_dtype_without_a_number_is_named() -> None:
    with pytest.raises(UsageError, match=re.escape("torch.complex64: this dtype cannot be sent")):
        encode(message(), {"x": torch.zeros(1, dtype=torch.complex64)})


def test_reasons_do_not_show_what_a_tensor_holds() -> None:
    secret = b"a patient's name"
    for data in (secret, b"SGLR\1\0\0\0\x10\0\0\0" + secret, encode(message()) + secret):
        with pytest.raises(Malformed) as caught:
            decode(data, PLENTY, KINDS)
        assert "patient" not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_an_envelope_nested_without_end_is_refused() -> None:
    for deep in (b"\xa3\x06" * 50_000, b"\xa3\x06" * 50_000 + b"\xa4\x06" * 50_000, b"\x12\x04" * 50_000):
        with pytest.raises(Malformed):
            decode(b"SGLR\1\0\0\0" + len(deep).to_bytes(4, "little") + deep, PLENTY, KINDS)


def test_a_peers_text_is_shown_on_one_line_and_cut() -> None:
    assert shown("as\nit \x1b[2J\u202e is") == "as it  [2J  is"
    assert shown("x" * MOST_SHOWN) == "x" * MOST_SHOWN
    assert len(shown("\r" * 10**6)) == MOST_SHOWN + 1
