"""The floating-point operations of a training, counted at the client and at the server.

A segment is counted once, on a copy and with a batch of two, by ``torch.utils.flop_counter``; a sample costs the same
in every step, so training itself is never slowed. An add-multiply is two operations. Gradients of frozen weights are
not counted, since they are not computed. What the counter has no formula for (activations, poolings, normalisation) is
listed with its number of calls.

The paper (Table 4) counts by a shorter rule: backward = 2 x forward, in every segment.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import conv_flop_count, flop_registry, sdpa_backward_flop, sdpa_flop, shape_wrapper

from sglr.system.eager import EagerMode, backward

BATCH = 2
"""Samples that a count runs on: BatchNorm needs two."""

SMALL = 1 << 24
"""Weights up to which running a segment takes less time than torch's import of what runs it by shapes alone."""

_KEPT = 64
_counted: dict[tuple[Any, ...], SegmentFlops] = {}
aten = torch.ops.aten


@dataclass(frozen=True)
class SegmentFlops:
    """What one sample costs in a segment.

    Parameters
    ----------
    forward
        Floating-point operations of the forward pass.
    backward
        Those of the backward pass: gradients of the weights and, if asked for, of the input.
    unknown
        Operations without a formula, by name, with the number of calls in one step; they are in neither count.
    output_shape
        Shape of what the segment makes of one sample.
    """

    forward: float
    backward: float
    unknown: Mapping[str, int]
    output_shape: tuple[int, ...]

    @property
    def total(self) -> float:
        """Operations of one sample in one training step, as they really happen."""
        return self.forward + self.backward

    @property
    def paper(self) -> float:
        """Operations of one sample in one training step by the paper's rule: backward = 2 x forward (Table 4)."""
        return 3 * self.forward


def segment_flops(
    segment: nn.Module,
    input_shape: tuple[int, ...],
    *,
    input_gradient: bool = False,
    weight_gradients: bool = True,
    dtype: torch.dtype = torch.float32,
) -> SegmentFlops:
    """Count one sample's operations in a segment, forward and backward.

    The segment, its buffers, its mode and all random generators stay as they are. Segments of the same structure are
    counted once.

    Parameters
    ----------
    segment
        A client's or the server's segment, on any device.
    input_shape
        Shape of one input, without the batch.
    input_gradient
        Whether the backward pass goes on to the input, as at the server, which sends clients the cut gradient. A
        client's first layer needs no gradient of its input, and none is counted there.
    weight_gradients
        Whether gradients of the weights are found.
    dtype
        Of the inputs: numbers of tokens are integers.

    Raises
    ------
    Exception
        Whatever the segment raises on such inputs.
    """
    signature = (_structure(segment), tuple(input_shape), input_gradient, weight_gradients, dtype)
    if signature not in _counted:
        if len(_counted) >= _KEPT:
            _counted.clear()
        example = torch.ones(BATCH, *input_shape, dtype=dtype)
        _counted[signature] = _count(segment, example, _Wanted(input_gradient, weight_gradients))
    return _counted[signature]


class _Wanted(NamedTuple):
    """The gradients that are found."""

    of_input: bool
    of_weights: bool


def _count(segment: nn.Module, example: Tensor, wanted: _Wanted) -> SegmentFlops:
    """Run a small segment with real numbers, a large one by shapes alone if its operations do not depend on them."""
    if sum(weight.numel() for weight in segment.parameters()) > SMALL:
        with suppress(Exception):  # a module may raise anything when its tensors have no values
            return _count_on("meta", segment, example, wanted)
    return _count_on("cpu", segment, example, wanted)


def _count_on(device: str, segment: nn.Module, example: Tensor, wanted: _Wanted) -> SegmentFlops:
    trial = copy.deepcopy(segment).to(device).train()
    inputs = example.to(device, copy=True).requires_grad_(wanted.of_input)
    there, back = FlopCounter(), FlopCounter()
    with torch.random.fork_rng([]), torch.enable_grad():
        with there:
            outputs: Tensor = trial(inputs)
        weights = trial.parameters() if wanted.of_weights else ()
        leaves = [tensor for tensor in chain([inputs], weights) if tensor.requires_grad]
        if leaves and outputs.requires_grad:
            arrived = torch.ones_like(outputs)
            with back:
                backward([outputs], leaves, [arrived])
    unknown = there.unknown + back.unknown
    shape = tuple(outputs.shape[1:])
    return SegmentFlops(there.flops / BATCH, back.flops / BATCH, dict(sorted(unknown.items())), shape)


class FlopCounter(EagerMode):
    """Counts the operations that run inside it, by torch's formulas.

    Attributes
    ----------
    flops
        Floating-point operations of the whole batch.
    unknown
        Operations that compute something and have no formula, with the number of calls.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops, self.unknown = 0, Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        with self:
            decomposed = func.decompose(*args, **given)
        if decomposed is not NotImplemented:
            return decomposed
        outputs = func(*args, **given)
        packet = func._overloadpacket
        if packet in _FORMULAS:
            self.flops += _FORMULAS[packet](*args, **given, out_val=outputs)
        elif not func.is_view and packet not in _MEMORY_ONLY:
            self.unknown[packet.__name__] += 1
        return outputs


def _convolution_backward(
    gradient: Any, inputs: Any, weight: Any, *rest: Any, out_shape: Any = None, **further: Any
) -> int:
    """Count as much as the forward pass for each of the input's and the weight's gradient.

    torch's own formula takes the weight's gradient of a grouped convolution ``groups`` times too high.
    """
    del out_shape, further
    transposed, wanted = rest[4], rest[7]
    once = conv_flop_count(inputs, weight, gradient, transposed=transposed)
    return int(once * (wanted[0] + wanted[1]))


_FORMULAS = {
    **flop_registry,
    aten.convolution_backward: shape_wrapper(_convolution_backward),  # type: ignore[no-untyped-call]
    aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: sdpa_backward_flop,
}

_MEMORY_ONLY = {
    aten.clone,
    aten.copy_,
    aten._to_copy,
    aten._unsafe_view,
    aten.detach,
    aten.empty,
    aten.empty_like,
    aten.new_empty,
    aten.new_zeros,
    aten.ones_like,
    aten.zeros,
    aten.zeros_like,
    aten.ones,
    aten.full,
    aten.fill_,
    aten.cat,
    aten.stack,
    aten.arange,
}
"""Operations that move or set memory and compute nothing."""


def _structure(segment: nn.Module) -> tuple[Any, ...]:
    """Describe what decides a segment's operations: its modules with their settings, and its weights' shapes."""
    inner = vars(nn.Module()).keys()
    modules = tuple(
        (name, type(module), tuple((key, _frozen(value)) for key, value in vars(module).items() if key not in inner))
        for name, module in segment.named_modules()
    )
    state = chain(segment.named_parameters(), segment.named_buffers())
    return modules, tuple((name, tuple(tensor.shape), tensor.dtype, tensor.requires_grad) for name, tensor in state)


def _frozen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value
