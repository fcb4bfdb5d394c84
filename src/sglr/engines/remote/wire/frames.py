"""Frames: a fixed header, a protobuf envelope, the tensors' raw bytes; every field of a received frame is checked.

A frame is 12 bytes (``SGLR``, version, flags, two zero bytes, length of the envelope, little-endian), the
`Envelope`, then the payloads one after the other, little-endian, in C order. The lengths must fit exactly.
``decode`` allocates at most the envelope, whose size is bounded: payloads stay views of the bytes that came.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

import torch
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from torch import Tensor

from sglr.core.errors import SglrError, UsageError, printable
from sglr.engines.remote.wire import messages_pb2
from sglr.engines.remote.wire.messages_pb2 import DType, Envelope

if sys.byteorder != "little":
    raise ImportError("sglr sends tensors as they lie in memory: it needs a little-endian machine")

MOST_ENVELOPE = 256 * 1024
MOST_TENSORS = 4096
MOST_RANK = 8
MOST_NAME = 200
MOST_TEXT = 16 * 1024
MOST_LIST = 4096

MOST_SHOWN = 300
"""Most characters of a peer's text that are shown."""

DTYPES: Mapping[int, torch.dtype] = MappingProxyType(
    {number: getattr(torch, name.lower()) for name, number in DType.items() if number != DType.NONE}
)
"""What the numbers of the protocol's `DType` mean."""

_NUMBERS = {dtype: number for number, dtype in DTYPES.items()}
_ITEM_BYTES = {number: dtype.itemsize for number, dtype in DTYPES.items()}
_HEADER = struct.Struct("<4sBBHI")
_MAGIC, _VERSION, _FLAGS, _ZERO = b"SGLR", 1, 0, 0
_BODIES = Envelope.DESCRIPTOR.oneofs_by_name["body"].fields
_TEXTS = {
    body.name: [field.name for field in body.message_type.fields if field.type == FieldDescriptor.TYPE_STRING]
    for body in _BODIES
}
_LISTS = {body.name: [field.name for field in body.message_type.fields if field.is_repeated] for body in _BODIES}


class Malformed(SglrError):  # noqa: N818 - what a frame is, not what went wrong here
    """A peer sent a malformed message; the error names what is wrong, and never a tensor's values."""


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One message and its tensors, with a checked structure; values are not checked yet.

    Parameters
    ----------
    envelope
        The message.
    payloads
        The bytes of each of ``envelope.tensors``, as views of what was received.
    kind
        The name of the field of ``body`` that is set, such as ``"smashed"``.
    """

    envelope: Envelope
    payloads: tuple[memoryview, ...]
    kind: str


def encode(envelope: Envelope, tensors: Mapping[str, Tensor] = MappingProxyType({})) -> bytes:
    """Return the frame of ``envelope`` with ``tensors`` of any shape, stride and device, in their order.

    ``envelope.tensors`` is filled in. A tensor that lies contiguous on the CPU is copied once.

    Raises
    ------
    UsageError
        If a peer's ``decode`` would reject it, or a tensor's dtype has no number.
    """
    del envelope.tensors[:]
    for name, tensor in tensors.items():
        _describe(envelope, name, tensor)
    kind = envelope.WhichOneof("body")
    message = envelope.SerializeToString()
    try:
        _check_envelope_size(len(message))
        _check_body(envelope, _TEXTS)
        _check_tensors(envelope)
    except Malformed as error:
        raise UsageError("message", kind, str(error), "send less, or in several messages") from error
    header = _HEADER.pack(_MAGIC, _VERSION, _FLAGS, _ZERO, len(message))
    return b"".join((header, message, *map(_bytes_of, tensors.values())))


def decode(data: bytes, most_bytes: int, kinds: Collection[str]) -> Frame:
    """Return the frame in ``data`` after checking its structure.

    Parameters
    ----------
    data
        Bytes from a peer; anything at all.
    most_bytes
        How long a frame this peer may send now.
    kinds
        Which messages it may send now, by the names of the fields of ``body``.

    Raises
    ------
    Malformed
        If anything is wrong with it; nothing else is raised, whatever came.
    """
    if len(data) > most_bytes:
        raise Malformed(f"the frame has {len(data)} bytes, at most {most_bytes} are allowed")
    first = _end_of_envelope(data)
    try:
        envelope = Envelope.FromString(data[_HEADER.size : first])
    except DecodeError:
        # Its message may quote what it could not read.
        raise Malformed("the envelope is not a message of this protocol") from None
    kind = _check_body(envelope, kinds)
    sizes = _check_tensors(envelope)
    # Unknown fields, fields given twice and bodies replaced by later ones would be kept in memory unseen.
    envelope.DiscardUnknownFields()
    if _HEADER.size + envelope.ByteSize() != first:
        raise Malformed("the envelope holds more than this protocol writes: unknown fields, or one given twice")
    if first + sum(sizes) != len(data):
        raise Malformed(f"the tensors need {sum(sizes)} bytes, {len(data) - first} follow the envelope")
    return Frame(envelope, _views(data, first, sizes), kind)


def memory_of(tensor: Tensor) -> memoryview:
    """Return the memory of ``tensor``, which lies contiguous on the CPU, without a copy."""
    # NumPy knows no bfloat16.
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy().data


def shown(text: str, most: int = MOST_SHOWN) -> str:
    """Return ``text`` without line breaks and control characters, which a log or a terminal would obey, and cut."""
    kept = printable(text[:most], instead=" ")
    return kept if len(text) <= most else f"{kept}…"


def _describe(envelope: Envelope, name: str, tensor: Tensor) -> None:
    if tensor.dtype not in _NUMBERS:
        known = ", ".join(str(dtype) for dtype in _NUMBERS)
        raise UsageError(name, tensor.dtype, "this dtype cannot be sent", f"convert it to one of {known}")
    size = tensor.numel() * tensor.itemsize
    envelope.tensors.add(name=name, dtype=_NUMBERS[tensor.dtype], shape=tensor.shape, bytes=size)


def _bytes_of(tensor: Tensor) -> memoryview:
    return memory_of(tensor.detach().cpu().contiguous())


def _end_of_envelope(data: bytes) -> int:
    if len(data) < _HEADER.size:
        raise Malformed(f"the frame has {len(data)} bytes, a header alone has {_HEADER.size}")
    magic, version, flags, zero, length = _HEADER.unpack_from(data)
    first: int = _HEADER.size + length
    if magic != _MAGIC:
        raise Malformed("not a frame of sglr")
    if version != _VERSION:
        raise Malformed(f"the frame is of version {version} of the protocol, this is version {_VERSION}")
    if flags != _FLAGS or zero != _ZERO:
        raise Malformed("the header's reserved bytes are not zero")
    _check_envelope_size(length)
    if first > len(data):
        raise Malformed(f"the envelope should have {length} bytes, but {len(data) - _HEADER.size} came")
    return first


def _check_envelope_size(size: int) -> None:
    if size > MOST_ENVELOPE:
        raise Malformed(f"the envelope has {size} bytes, at most {MOST_ENVELOPE} are allowed")


def _check_body(envelope: Envelope, kinds: Collection[str]) -> str:
    """Return which message it is; its texts and lists are within bounds."""
    kind: str | None = envelope.WhichOneof("body")
    if kind is None:
        raise Malformed("the envelope holds no message that this version knows")
    if kind not in kinds:
        raise Malformed(f"a {kind} message is not expected here: expected {', '.join(sorted(kinds)) or 'none'}")
    body = getattr(envelope, kind)
    for field in _TEXTS[kind]:
        if len(getattr(body, field)) > MOST_TEXT:
            raise Malformed(f"{kind}.{field} is longer than {MOST_TEXT} characters")
    for field in _LISTS[kind]:
        if len(getattr(body, field)) > MOST_LIST:
            raise Malformed(f"{kind}.{field} has more than {MOST_LIST} entries")
    return kind


def _check_tensors(envelope: Envelope) -> list[int]:
    """Return how many bytes each tensor has; names are unique, and dtypes, ranks, shapes and sizes fit together."""
    if len(envelope.tensors) > MOST_TENSORS:
        raise Malformed(f"the envelope announces {len(envelope.tensors)} tensors, at most {MOST_TENSORS} are allowed")
    names: set[str] = set()
    sizes = []
    for position, tensor in enumerate(envelope.tensors):
        name = tensor.name
        _check_name(name, names, position)
        names.add(name)
        sizes.append(_size(tensor))
    return sizes


def _check_name(name: str, taken: set[str], position: int) -> None:
    # Names come into logs: no line breaks, no control characters.
    if not 0 < len(name) <= MOST_NAME or not name.isprintable():
        raise Malformed(f"the name of tensor {position} is not of 1 to {MOST_NAME} printable characters")
    if name in taken:
        raise Malformed(f"two tensors are called {name!r}")


def _size(tensor: messages_pb2.Tensor) -> int:
    item = _ITEM_BYTES.get(tensor.dtype)
    if item is None:
        raise Malformed(f"tensor {tensor.name!r} has the unknown dtype {int(tensor.dtype)}")
    shape = tensor.shape
    if len(shape) > MOST_RANK:
        raise Malformed(f"tensor {tensor.name!r} has {len(shape)} dimensions, at most {MOST_RANK} are allowed")
    size: int = prod(shape) * item
    if size != tensor.bytes:
        raise Malformed(f"tensor {tensor.name!r} of shape {list(shape)} has {size} bytes, not {tensor.bytes}")
    return size


def _views(data: bytes, first: int, sizes: list[int]) -> tuple[memoryview, ...]:
    whole = memoryview(data)
    views = []
    for size in sizes:
        views.append(whole[first : first + size])
        first += size
    return tuple(views)
