"""Tensors as NumPy arrays, which Ray's object store holds in shared memory and hands out without copying."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.data import Inputs, StoredInputs
from sglr.core.weights import Weights

_STAND_IN = {1: torch.int8, 2: torch.int16}
"""What values are sent as, by their bytes, where NumPy lacks their type."""


class SentArray(NamedTuple):
    """A tensor on its way.

    Parameters
    ----------
    array
        Its values in the order in which they lie in memory.
    dtype
        The name of its type, as ``bfloat16``.
    axes
        Which axis of the tensor each axis of the array is.
    """

    array: NDArray[Any]
    dtype: str
    axes: tuple[int, ...]


SentInputs: TypeAlias = SentArray | StoredInputs


def send(tensor: Tensor) -> SentArray:
    """Return a tensor as an array, copied only if its values don't lie densely in the CPU's memory."""
    tensor = tensor.detach().cpu()
    # An array in the order of memory is written into the store in one go: channels-last needs no copy before.
    strides = tensor.stride()
    axes = tuple(sorted(range(tensor.dim()), key=lambda axis: -strides[axis]))
    dense = tensor.permute(axes).contiguous()
    if 0 in dense.stride():
        # Of one value, an expanded tensor counts as contiguous; its array would not be read as one.
        dense = dense.clone(memory_format=torch.contiguous_format)
    if dense.dtype in _NOT_OF_NUMPY:
        dense = dense.view(_STAND_IN[dense.element_size()])
    return SentArray(dense.numpy(), str(tensor.dtype).removeprefix("torch."), axes)


def receive(sent: SentArray) -> Tensor:
    """Return the tensor; it shares the memory of the array, and nobody may write to it."""
    dtype: torch.dtype = getattr(torch, sent.dtype)
    if not sent.array.size:  # its strides may be zero, which torch can't view as bytes
        return torch.empty(sent.array.shape, dtype=dtype).permute(tuple(np.argsort(sent.axes).tolist()))
    flat = torch.from_numpy(sent.array if sent.array.flags.writeable else np.asarray(_Shared(sent.array)))
    values = flat if flat.dtype == dtype else flat.view(dtype)
    return values.permute(tuple(np.argsort(sent.axes).tolist()))


def send_inputs(inputs: Inputs) -> SentInputs:
    """Return inputs as an array; those that are stored are not sent: whoever receives them reads the files."""
    return inputs if isinstance(inputs, StoredInputs) else send(inputs)


def receive_inputs(sent: SentInputs) -> Inputs:
    """Return the inputs of samples again."""
    return sent if isinstance(sent, StoredInputs) else receive(sent)


def send_all(tensors: Weights) -> dict[str, SentArray]:
    """Return named tensors as arrays."""
    return {name: send(tensor) for name, tensor in tensors.items()}


def receive_all(sent: Mapping[str, SentArray]) -> dict[str, Tensor]:
    """Return named tensors again."""
    return {name: receive(one) for name, one in sent.items()}


_NOT_OF_NUMPY = frozenset(
    getattr(torch, name) for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2") if hasattr(torch, name)
)


class _Shared:
    """An array of the store for torch, which warns of arrays that are marked as read-only, and can't be told not to."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array  # keeps the memory
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface
