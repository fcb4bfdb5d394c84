"""Damage frames, at random but from a seed, and say whether the decoder keeps its promises about whatever comes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import prod
from random import Random

from sglr.engines.remote.wire.frames import DTYPES, Frame, Malformed, decode, encode
from sglr.engines.remote.wire.layouts import read
from sglr.engines.remote.wire.messages_pb2 import Envelope

from .made_up import KINDS

MOST_BYTES = 1 << 20
HEADER = 12
EXTREMES = (0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def examine(data: bytes) -> Frame | None:
    """Decode ``data``: a frame that survives a second journey, or ``Malformed`` with a reason fit for a log."""
    try:
        frame = decode(data, MOST_BYTES, KINDS)
    except Malformed as error:
        check_reason(error)
        return None
    assert frame.envelope.WhichOneof("body") == frame.kind
    assert sum(payload.nbytes for payload in frame.payloads) + frame.envelope.ByteSize() + HEADER == len(data)
    if all(prod(max(1, size) for size in tensor.shape) < 2**40 for tensor in frame.envelope.tensors):
        check_second_journey(frame)
    return frame


def check_reason(error: Malformed) -> None:
    """A reason is one printable line of bounded length."""
    assert 0 < len(str(error)) < 2000
    assert str(error).isprintable()


def check_second_journey(frame: Frame) -> None:
    """What was read is sent and decoded again: the same message, the same bytes."""
    layout = {tensor.name: (DTYPES[tensor.dtype], tuple(tensor.shape)) for tensor in frame.envelope.tensors}
    try:
        tensors = read(frame, layout, finite=False)
    except Malformed as error:
        check_reason(error)
        return
    envelope = Envelope.FromString(frame.envelope.SerializeToString())
    again = decode(encode(envelope, tensors), MOST_BYTES, KINDS)
    assert again.envelope == frame.envelope
    assert again.payloads == frame.payloads


def mutate(frame: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Return ``frame`` with one to four things wrong with it; ``others`` lend parts of theirs."""
    for _ in range(rng.randint(1, 4)):
        frame = rng.choice(DAMAGES)(frame, rng, others)
    return frame


def flip_bits(frame: bytes, rng: Random, _: list[bytes]) -> bytes:
    """Flip single bits anywhere."""
    changed = bytearray(frame)
    for _ in range(rng.randint(1, 8) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(frame: bytes, rng: Random, _: list[bytes]) -> bytes:
    """Cut the end off."""
    return frame[: rng.randint(0, len(frame))]


def extend(frame: bytes, rng: Random, _: list[bytes]) -> bytes:
    """Add bytes behind the end."""
    return frame + rng.randbytes(rng.randint(1, 40))


def put_extreme(frame: bytes, rng: Random, _: list[bytes]) -> bytes:
    """Write a huge or a tiny number over some bytes, as it is written in a header."""
    place, number = rng.randint(0, len(frame)), rng.choice(EXTREMES)
    raw = struct.pack("<Q", number)[: rng.choice((1, 2, 4, 8))]
    return frame[:place] + raw + frame[place + len(raw) :]


def put_extreme_field(frame: bytes, rng: Random, _: list[bytes]) -> bytes:
    """Put a huge or a tiny number into the envelope, as protobuf writes it."""
    place, raw = rng.randint(0, len(envelope_of(frame))), varint(rng.choice(EXTREMES))
    return edit(frame, lambda envelope: envelope[:place] + raw + envelope[place + rng.randint(0, len(raw)) :])


def splice(frame: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Replace some bytes by those of another frame."""
    other = rng.choice(others)
    first, last = sorted(rng.choices(range(len(frame) + 1), k=2))
    begin, end = sorted(rng.choices(range(len(other) + 1), k=2))
    return frame[:first] + other[begin:end] + frame[last:]


def repeat_field(frame: bytes, rng: Random, _: list[bytes]) -> bytes:
    """Give one field of the envelope several times."""
    return edit_fields(frame, lambda fields: fields + [rng.choice(fields)] * rng.choice((1, 2, 100)))


def reorder_fields(frame: bytes, rng: Random, _: list[bytes]) -> bytes:
    """Shuffle the envelope's fields."""
    return edit_fields(frame, lambda fields: rng.sample(fields, len(fields)))


def drop_field(frame: bytes, rng: Random, _: list[bytes]) -> bytes:
    """Leave out a field of the envelope."""
    return edit_fields(frame, lambda fields: rng.sample(fields, len(fields) - 1))


def lend_field(frame: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Put a field of another frame's envelope into this one."""
    lent = fields_of(envelope_of(rng.choice(others)))
    return edit_fields(frame, lambda fields: [*fields, rng.choice(lent)] if lent else fields)


Damage = Callable[[bytes, Random, list[bytes]], bytes]
DAMAGES: tuple[Damage, ...] = (
    flip_bits,
    truncate,
    extend,
    put_extreme,
    put_extreme_field,
    splice,
    repeat_field,
    reorder_fields,
    drop_field,
    lend_field,
)


def varint(number: int) -> bytes:
    """Return ``number`` as protobuf writes it."""
    raw = bytearray()
    while number > 127:
        raw.append(number & 127 | 128)
        number >>= 7
    return bytes([*raw, number])


def envelope_of(frame: bytes) -> bytes:
    """Return the bytes that the header calls the envelope, as far as they are there."""
    return frame[HEADER : HEADER + int.from_bytes(frame[8:HEADER], "little")]


def edit(frame: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Change the envelope, and let the header announce the new length: what follows the header is reached."""
    old = envelope_of(frame)
    new = change(old)
    return frame[:8] + struct.pack("<I", len(new)) + new + frame[HEADER + len(old) :]


def edit_fields(frame: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    """Change the list of the envelope's fields, if it can be taken apart."""
    fields = fields_of(envelope_of(frame))
    return edit(frame, lambda _: b"".join(change(fields))) if fields else frame


def fields_of(envelope: bytes) -> list[bytes]:
    """Take an envelope apart; empty if it holds more than numbers and lengths."""
    fields, place = [], 0
    while place < len(envelope):
        begin = place
        tag, place = number_at(envelope, place)
        number, place = number_at(envelope, place)
        if tag & 7 not in (0, 2):
            return []
        place += number if tag & 7 == 2 else 0
        fields.append(envelope[begin:place])
    return fields


def number_at(raw: bytes, place: int) -> tuple[int, int]:
    """Return the number that begins at ``place``, and where it ends."""
    number = shift = 0
    while place < len(raw):
        byte = raw[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            break
    return number, place
