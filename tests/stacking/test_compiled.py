"""Compiled passes give the numbers of passes that are not; without a compiler they run all the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from sglr.core.optim import OptimizerSpec
from sglr.stacking.compiled import Compiled
from sglr.stacking.precision import SINGLE_PRECISION, Precision
from sglr.stacking.stack import Stack

pytestmark = pytest.mark.slow  # importing the compiler alone takes seconds
CPU, COMPILED = torch.device("cpu"), Precision(compiled=True)


@pytest.fixture(autouse=True)
def _nothing_told() -> Iterator[None]:
    Compiled.told = False
    yield
    Compiled.told = False


def make_segment(row: int, *, dropout: float = 0.0) -> nn.Module:
    torch.default_generator.manual_seed(row)
    # A bias before BatchNorm has a gradient of zero, rounded, which Adam makes a step of.
    return nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(dropout))


def steps(precision: Precision, *, rows: int, stacked: bool, dropout: float = 0.0) -> dict[str, Tensor]:
    """Take three steps; return outputs, gradients by the inputs and all weights."""
    stack = Stack(
        lambda row: make_segment(row, dropout=dropout),
        rows,
        OptimizerSpec.parse("adam"),
        clip_norm=None,
        stacked=stacked,
        device=CPU,
        precision=precision,
    )
    everyone = tuple(range(rows))
    rng = torch.Generator().manual_seed(0)
    torch.default_generator.manual_seed(7)
    found: dict[str, Tensor] = {}
    for step in range(3):
        forward = stack.forward(everyone, torch.randn(rows, 5, 4, generator=rng), by_inputs=True)
        gradients = stack.backward(forward, torch.randn(forward.outputs.shape, generator=rng))
        assert gradients.inputs is not None
        stack.update(everyone, gradients.weights, 0.01)
        found |= {f"outputs {step}": forward.outputs, f"by inputs {step}": gradients.inputs}
    return found | stack.state()


@pytest.mark.parametrize(("rows", "stacked"), [(3, True), (2, False), (1, False)])
def test_compiled_is_what_is_not_compiled(rows: int, stacked: bool, caplog: pytest.LogCaptureFixture) -> None:
    found, wanted = (steps(precision, rows=rows, stacked=stacked) for precision in (COMPILED, SINGLE_PRECISION))
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    assert "failed" not in caplog.text


def test_random_layers_draw_anew_in_every_step_and_the_same_in_every_run() -> None:
    first, again = (steps(COMPILED, rows=2, stacked=True, dropout=0.5) for _ in range(2))
    for name, value in first.items():
        assert torch.equal(again[name], value)
    assert not torch.equal(first["outputs 0"] == 0, first["outputs 1"] == 0)


def test_without_a_compiler_passes_run_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    from torch._inductor import config

    nowhere = {"cpp.cxx": ("/nowhere/g++",), "force_disable_caches": True}
    with config.patch(nowhere), caplog.at_level(logging.WARNING):
        found, _ = (steps(COMPILED, rows=rows, stacked=True) for rows in (2, 3))
    wanted = steps(SINGLE_PRECISION, rows=2, stacked=True)
    for name, value in wanted.items():
        assert torch.equal(found[name], value)
    assert caplog.text.count("passes run without torch.compile") == 1
