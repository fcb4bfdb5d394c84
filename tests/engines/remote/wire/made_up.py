"""Frames made up by hypothesis and by hand, for the tests of the wire."""

from __future__ import annotations

import struct

import torch
from hypothesis import strategies as st
from torch import Tensor

from sglr.engines.remote.wire.frames import DTYPES, encode
from sglr.engines.remote.wire.layouts import Layout
from sglr.engines.remote.wire.messages_pb2 import DType, Envelope

KINDS = frozenset(field.name for field in Envelope.DESCRIPTOR.oneofs_by_name["body"].fields)
PLENTY = 1 << 30

shapes = st.lists(st.integers(0, 4), max_size=8).map(tuple)
names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=200)


def draw_tensor(dtype: torch.dtype, shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw a tensor of any of the wire's dtypes over its whole range; floats may be NaN or infinite."""
    rng = torch.Generator().manual_seed(seed)
    if dtype == torch.bool:
        return torch.rand(shape, generator=rng) < 0.5
    raw = torch.randint(0, 256, (*shape, dtype.itemsize), dtype=torch.uint8, generator=rng)
    return raw.view(dtype).view(shape)


tensors = st.builds(draw_tensor, st.sampled_from(sorted(DTYPES.values(), key=str)), shapes, st.integers(0, 2**32))
named_tensors = st.dictionaries(names, tensors, max_size=4)


def message(kind: str = "smashed", **fields: object) -> Envelope:
    """Return the message ``kind`` with its fields set."""
    envelope = Envelope(seq=7)
    envelope.where.epoch = 3
    body = getattr(envelope, kind)
    body.SetInParent()
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(body, name).extend(value)
        else:
            setattr(body, name, value)
    return envelope


def layout_of(sent: dict[str, Tensor]) -> Layout:
    """Return what two sides agree on so that ``sent`` is right."""
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in sent.items()}


def frame_of(envelope: Envelope, payload: bytes = b"") -> bytes:
    """Join a frame by hand, whatever its envelope says."""
    raw = envelope.SerializeToString()
    return struct.pack("<4sBBHI", b"SGLR", 1, 0, 0, len(raw)) + raw + payload


def announced(dtype: int = DType.FLOAT32, shape: tuple[int, ...] = (2,), size: int = 8, name: str = "x") -> Envelope:
    """Return a message with one tensor, announced as said."""
    envelope = message()
    envelope.tensors.add(name=name, dtype=dtype, shape=shape, bytes=size)
    return envelope


def typical_frames() -> list[bytes]:
    """Return a frame of every message, some of them with tensors."""
    step = {"smashed": torch.randn(4, 3, 2), "labels": torch.arange(4)}
    parts = {"values": torch.ones(4, 6, dtype=torch.int8), "scale": torch.rand(6).bfloat16(), "kept": torch.ones(6) > 0}
    weights = {f"layer{number}.weight": torch.randn(3, number) for number in range(5)} | {"count": torch.tensor(3)}
    carried = {"smashed": step, "scores": step, "gradient": parts, "weights": weights, "publish": weights}
    frames = [encode(message(kind), carried.get(kind, {})) for kind in sorted(KINDS)]
    hello = message("hello", run="r", segment="5e6", snapshots=[1, 2, 300], version="0.1")
    return [*frames, encode(hello), encode(message("finish", summary="all is well"))]
