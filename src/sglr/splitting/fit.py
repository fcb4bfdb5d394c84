"""Fit raw segments to each other: find on a trial what crosses, pack it if it is several values, pick the output."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.splitting.check import Split, require_fitting, require_output, tried
from sglr.splitting.crossing import BatchSize, Constant, Crossing, Slot, Value
from sglr.splitting.nest import Nest, leaves_of
from sglr.splitting.packed import OneOutput, PackedSegment, UnpackedSegment, output_key
from sglr.splitting.several_inputs import layout_of, other_inputs

ELSEWHERE = "cut behind another layer (sglr cuts lists them all)"


def fitted(segments: Split, example: Tensor) -> Split:
    """Try segments on two samples; return them, packed where more than one tensor crosses.

    Parameters
    ----------
    segments
        Raw segments: the upper one takes what the lower one returns.
    example
        Inputs ``[b, ...]``, b >= 2.

    Raises
    ------
    UsageError
        If a segment fails, or a value that can't be sent crosses.
    """
    inputs = example[:2]
    if type(segments.upper) is nn.Identity:
        left = tried(segments.lower, inputs, "cut", "the client's segment", "one input")
        lower = ending(segments.lower, left)
        require_fitting(_again(lower, segments.lower, left, inputs), len(inputs))
        return Split(lower, segments.upper)
    joined, sent = joined_at(segments, inputs)
    return Split(joined.lower, ended(joined.upper, sent))


def joined_at(segments: Split, example: Tensor, before: nn.Module | None = None) -> tuple[Split, Tensor]:
    """Return raw segments, packed where more than one tensor crosses between them, and what crosses of two samples.

    Parameters
    ----------
    segments
        The upper one takes what the lower one returns.
    example
        Inputs ``[b, ...]``, b >= 2.
    before
        What stands before the lower segment, whose inputs the example is for.
    """
    lower = segments.lower if before is None else nn.Sequential(before, segments.lower)
    left = tried(lower, example[:2], "cut", "the client's segment", "one input")
    if isinstance(left, Tensor):
        require_fitting(left, 2)
        return segments, left.detach()
    crossing = find_crossing(lower, example)
    packed = Split(PackedSegment(segments.lower, crossing), UnpackedSegment(segments.upper, crossing))
    return packed, crossing.pack(left).detach()


def ended(segment: nn.Module, sent: Tensor) -> nn.Module:
    """Return a segment that ends the model, so that it returns one tensor; it takes ``sent``, of two samples."""
    output = tried(segment, sent, "model", "the server's segment", "one sample of smashed data")
    last = ending(segment, output)
    require_output(_again(last, segment, output, sent), len(sent))
    return last


def ending(segment: nn.Module, output: Any) -> nn.Module:
    """Return a segment that ends a model, so that it returns the output alone: itself, if that is all it returned.

    Raises
    ------
    UsageError
        If it can't be told which value is the output.
    """
    return segment if isinstance(output, Tensor) else OneOutput(segment, output_key(output))


def _again(segment: nn.Module, before: nn.Module, output: Any, inputs: Tensor) -> Any:
    """Return the output of a segment, which is known if it is the one ``before``."""
    return output if segment is before else tried(segment, inputs, "model", "the segment", "one sample")


def find_crossing(lower: nn.Module, example: Tensor) -> Crossing:
    """Find on two trials what crosses behind a raw lower segment.

    A float is learned if gradients reach it from a weight, frozen or not, or from the inputs.

    Parameters
    ----------
    lower
        The raw segment; it stays as it is.
    example
        Inputs ``[b, ...]``, b >= 2.

    Raises
    ------
    UsageError
        If a value can't be sent: the model's input itself, or one that depends on the batch and does not have it as
        first dimension.
    """
    twin = deepcopy(lower).eval()
    for weight in twin.parameters():
        weight.requires_grad_(weight.is_floating_point())
    two = varied(lower, example[:2])
    three = torch.cat([two.flip(0), other_inputs(lower, two)[:1]])
    nests = [_ran(twin, inputs) for inputs in (two, three)]
    (nest, other), (first, second) = map(Nest.of, nests), map(leaves_of, nests)
    if nest != other:
        raise UsageError("cut", "the client's segment", "what it returns depends on the batch", ELSEWHERE)
    slots = tuple(map(_slot, nest.names(), first, second, [two] * len(first)))
    values = [(slot, leaf) for slot, leaf in zip(slots, first, strict=True) if isinstance(slot, Value)]
    learned = tuple(slot for slot, leaf in values if leaf.requires_grad)
    if not learned:
        told = ", ".join(str(slot) for slot, _ in values) or "no tensor"
        raise UsageError("cut", told, "through what crosses the cut no gradient can be sent", ELSEWHERE)
    return Crossing(nest, slots, learned, tuple(slot for slot, leaf in values if not leaf.requires_grad))


def varied(lower: nn.Module, inputs: Tensor) -> Tensor:
    """Return inputs of a lower segment that differ, where numbers that are all alike were given for want of data."""
    if not inputs.is_floating_point() or inputs.amin() < inputs.amax():
        return inputs
    layout = layout_of(lower, inputs)
    if layout is not None:
        return layout.drawn(len(inputs), 0).to(inputs.device)
    drawn = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0), dtype=inputs.dtype)
    return drawn.to(inputs.device)


def _ran(twin: nn.Module, inputs: Tensor) -> Any:
    given = inputs.clone()
    if given.is_floating_point():
        # What comes in is no leaf, so that a layer may change it in place.
        given = given.requires_grad_().clone()
    return tried(twin, given, "cut", "the client's segment", "one input", copied=False)


def _slot(name: str, first: Any, second: Any, two: Tensor) -> Slot:
    """Return what a value is, of a trial with two samples ``two`` and of one with three."""
    if not isinstance(first, Tensor):
        return _number(name, first, second)
    shape, other = tuple(first.shape), tuple(second.shape)
    if not first.requires_grad and shape == other and torch.equal(first, second):
        return Constant(first.detach().clone())
    if not shape or (shape[0], other) != (2, (3, *shape[1:])):
        problem = f"it crosses the cut with shape {list(shape)} for 2 inputs, {list(other)} for 3"
        raise UsageError("cut", name, problem, f"keep the batch as first dimension, or {ELSEWHERE}")
    if first.dtype == two.dtype and shape == tuple(two.shape) and torch.equal(first, two) and first.is_floating_point():
        raise UsageError("cut", name, "the model's input itself would cross to the server", ELSEWHERE)
    if first.is_complex() or (first.dtype.itemsize > 4 and not _fits(first)):
        kind = str(first.dtype).removeprefix("torch.")
        problem = f"crosses the cut with {kind} values that do not fit in 32 bits"
        raise UsageError("cut", name, problem, "give real numbers, and integers of 32 bits")
    return Value(name, shape[1:], first.dtype)


def _fits(values: Tensor) -> bool:
    return values.is_floating_point() or bool((values.to(torch.int32) == values).all())


def _number(name: str, first: Any, second: Any) -> Slot:
    """Return what something that is no tensor is."""
    if type(first) is int and (first, second) == (2, 3):
        return BatchSize()
    same = first is second or (type(first) is type(second) and _equal(first, second))
    if not same:
        problem = f"{first!r} crosses the cut for 2 inputs, {second!r} for 3: it depends on the batch, and is no tensor"
        raise UsageError("cut", name or type(first).__name__, problem, ELSEWHERE)
    return Constant(first)


def _equal(first: Any, second: Any) -> bool:
    known = isinstance(first, (bool, int, float, str, bytes, torch.dtype, torch.device, torch.Size))
    return known and bool(first == second)
