"""Whatever comes, the decoder says `Malformed` or returns a sound frame, and takes no more memory than came."""

from __future__ import annotations

import struct
import tracemalloc
from collections import Counter
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sglr.engines.remote.wire.frames import MOST_ENVELOPE, Malformed, decode

from .made_up import KINDS, PLENTY, typical_frames
from .mutations import DAMAGES, Damage, examine, mutate, varint

FRAMES = typical_frames()


@given(st.binary(max_size=300))
def test_arbitrary_bytes(data: bytes) -> None:
    examine(data)
    examine(struct.pack("<4sBBHI", b"SGLR", 1, 0, 0, len(data)) + data)


@settings(max_examples=200)
@given(st.sampled_from(FRAMES), st.integers(0, 2**64))
def test_damaged_frames(frame: bytes, seed: int) -> None:
    examine(mutate(frame, Random(seed), FRAMES))


def test_every_kind_of_damage_is_met_by_the_decoder_and_some_of_it_by_a_sound_frame() -> None:
    rng = Random(1)
    sound = Counter({damage.__name__: 0 for damage in DAMAGES})
    for damage in DAMAGES:
        for frame in FRAMES * 5:
            sound[damage.__name__] += examine(damage(frame, rng, FRAMES)) is not None
    assert sound["extend"] == 0
    assert sound["flip_bits"] > 0 < sound["reorder_fields"]
    assert all(examine(frame) for frame in FRAMES)


@pytest.mark.parametrize("frame", [FRAMES[0], FRAMES[-2]])
def test_every_single_byte_may_be_any_other(frame: bytes) -> None:
    for place in range(len(frame)):
        for value in range(256):
            examine(frame[:place] + bytes([value]) + frame[place + 1 :])


def bombs() -> dict[str, bytes]:
    """Return the envelopes that take most memory for their size."""
    half = MOST_ENVELOPE // 2
    many = MOST_ENVELOPE - 20
    return {
        "tensors": b"\x1a\x00" * half,
        "bodies": b"\x5a\x00\x52\x00" * (half // 2),
        "steps": b"\x52" + varint(many + 4) + b"\x32" + varint(many) + b"\x01" * many,
        "shape": b"\x5a\x00\x1a" + varint(many + 4) + b"\x1a" + varint(many) + b"\x01" * many,
        "unknown": b"\xf8\x07\x01" * (MOST_ENVELOPE // 3),
        "groups": b"\xa3\x06" * half,
        "wheres": b"\x5a\x00" + b"\x12\x00" * (half - 1),
    }


@pytest.mark.parametrize("name", bombs())
def test_an_envelope_that_unfolds_is_rejected(name: str) -> None:
    raw = bombs()[name]
    with pytest.raises(Malformed):
        decode(struct.pack("<4sBBHI", b"SGLR", 1, 0, 0, len(raw)) + raw, PLENTY, KINDS)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_no_more_memory_is_taken_than_came(damage: Damage) -> None:
    # Python's memory. Protobuf's own is bounded by that of the envelope: 8 MiB for the worst one above, then freed.
    rng = Random(2)
    damaged = [damage(frame, rng, FRAMES) for frame in FRAMES * 3]
    tracemalloc.start()
    try:
        for data in damaged:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with suppress(Malformed):
                decode(data, PLENTY, KINDS)
            assert tracemalloc.get_traced_memory()[1] - before < 16 * 1024 + 2 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_long_run_of_damage() -> None:
    rng = Random(3)
    # Sound frames that came of damage are damaged further.
    pool = FRAMES + FRAMES * 20
    for _ in range(100_000):
        damaged = mutate(rng.choice(pool), rng, FRAMES)
        if examine(damaged) and len(damaged) < 4096:
            pool[rng.randrange(len(FRAMES), len(pool))] = damaged
