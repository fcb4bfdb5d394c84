"""What server and clients compare of a client's segment: its code, its shapes and its frozen weights, as hashes."""

from __future__ import annotations

import copy
import hashlib
import inspect
from functools import cache

import torch
from torch import nn

from sglr.core.weights import state_of
from sglr.splitting import ClientSegments
from sglr.splitting.segment_weights import frozen_of
from sglr.storage.checkpoint import digest


def segment_hash(segment: nn.Module, input_shape: tuple[int, ...], cut_shape: tuple[int, ...]) -> str:
    """Return a hash of a client segment: its layers and their code, the shapes of weights, of inputs and of the cut.

    Layers of torch count by their names and settings, others by their source too. Weights do not count.
    """
    total = hashlib.sha256(f"{input_shape} {cut_shape}\n{segment}\n".encode())
    for kind in sorted({type(module) for module in segment.modules()}, key=_name):
        total.update(f"{_name(kind)}\n{_source(kind)}\n".encode())  # type: ignore[arg-type]
    for module in segment.modules():
        total.update(str(getattr(module, "code", "")).encode())  # of a torch.fx graph
    for name, tensor in state_of(segment).items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    return total.hexdigest()


def frozen_hash(segment: nn.Module) -> str:
    """Return the SHA-256 of a client segment's frozen weights, with their names; empty if it has none."""
    weights = frozen_of(segment)
    return digest(weights) if weights else ""


def network_hash(segment: str, frozen: str) -> str:
    """Return what a client tells of its network, by the hashes of its segment and of its frozen weights."""
    return f"{segment} {frozen}".rstrip()


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@cache
def _source(kind: type) -> str:
    if kind.__module__.partition(".")[0] == "torch":
        return ""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""


def shape_at_cut(segment: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype | None = None) -> tuple[int, ...]:
    """Return the shape of one sample's smashed data, tried on zeros of ``dtype``; the segment stays as it is."""
    inputs = torch.zeros(2, *input_shape, dtype=dtype)
    with torch.no_grad(), torch.random.fork_rng([]):
        return tuple(copy.deepcopy(segment).cpu().eval()(inputs).shape[1:])


def features_of(segment: nn.Module) -> tuple[int, ...] | None:
    """Return the shape of one sample's features where labels stay with the client, or None."""
    return segment.features if isinstance(segment, ClientSegments) else None
