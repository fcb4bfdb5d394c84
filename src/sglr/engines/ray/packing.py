"""Arguments and results of a server's methods on their way: every tensor in them as an array of the object store."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from sglr.core.types import StepContext, Uplink
from sglr.engines.ray.object_store import SentArray, receive, send
from sglr.engines.ray.worker import Smashed


def pack(value: object) -> Any:
    """Return a value with its tensors as arrays: a tensor, an uplink, tensors by name or in a tuple, or none."""
    if isinstance(value, Tensor):
        return send(value)
    if isinstance(value, Uplink):
        return Smashed(send(value.smashed), send(value.labels), value.clients, value.sizes)
    if isinstance(value, dict):
        return {name: pack(one) for name, one in value.items()}
    if isinstance(value, StepContext):
        return dataclasses.replace(value, memory={})  # the method's own, of which the server has no use
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(pack, value))
    return value


def unpack(value: Any, device: torch.device) -> Any:
    """Return what was packed, with its tensors on a device."""
    if isinstance(value, SentArray):
        return receive(value).to(device)
    if isinstance(value, Smashed):
        smashed, labels, clients, sizes = value
        return Uplink(unpack(smashed, device), unpack(labels, device), clients, sizes)
    if isinstance(value, dict):
        return {name: unpack(one, device) for name, one in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(unpack(one, device) for one in value))
    return value
