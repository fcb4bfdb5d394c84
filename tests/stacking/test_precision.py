"""Precision: what rounds, what does not, and what a device refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sglr.core.errors import UsageError
from sglr.core.optim import OptimizerSpec
from sglr.stacking.precision import SINGLE_PRECISION, Precision
from sglr.stacking.stack import Stack

CPU = torch.device("cpu")


def make_segment(row: int) -> nn.Module:
    torch.default_generator.manual_seed(row)
    # No bias before BatchNorm, whose gradient is zero, rounded; no maximum, which jumps when something is rounded.
    layers = [
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
    ]
    return nn.Sequential(*layers)


def make_stack(precision: Precision, *, stacked: bool, rows: int = 3) -> Stack:
    spec = OptimizerSpec.parse("sgd")
    return Stack(make_segment, rows, spec, clip_norm=None, stacked=stacked, device=CPU, precision=precision)


@pytest.mark.parametrize(("stacked", "rows"), [(True, 3), (False, 3), (False, 1)])
def test_mixed_precision_rounds_inside_a_segment_alone(stacked: bool, rows: int) -> None:
    inputs = torch.randn(rows, 4, 2, 6, 6)
    found = {}
    for precision in (SINGLE_PRECISION, Precision("bf16")):
        stack = make_stack(precision, stacked=stacked, rows=rows)
        everyone = tuple(range(rows))
        forward = stack.forward(everyone, inputs, by_inputs=True)
        gradients = stack.backward(forward, torch.ones_like(forward.outputs))
        assert gradients.inputs is not None
        scored = stack.predict(everyone, inputs[0])
        found[precision.precision] = [forward.outputs, gradients.inputs, *gradients.weights, scored]
        assert {tensor.dtype for tensor in [*found[precision.precision], *stack.parameters.values()]} == {torch.float32}
    rounding = float(torch.finfo(torch.bfloat16).eps)
    for single, mixed in zip(found["fp32"], found["bf16"], strict=True):
        torch.testing.assert_close(mixed, single, rtol=20 * rounding, atol=20 * rounding * float(single.abs().max()))
    assert not torch.equal(found["fp32"][0], found["bf16"][0])


def test_mixed_precision_is_the_same_stacked_and_looped() -> None:
    inputs = torch.randn(3, 4, 2, 6, 6)
    outputs = [
        make_stack(Precision("bf16"), stacked=stacked).forward((0, 1, 2), inputs).outputs for stacked in (True, False)
    ]
    torch.testing.assert_close(*outputs, rtol=0.02, atol=0.02)


def test_tf32_is_no_precision_of_a_cpu() -> None:
    with pytest.raises(UsageError, match=r"precision.*tf32.*CUDA.*bf16"):
        Precision("tf32").prepare(CPU)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_cpu_takes_the_others(precision: str) -> None:
    Precision(precision).prepare(CPU)
