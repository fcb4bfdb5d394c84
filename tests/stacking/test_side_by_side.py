"""Clients side by side in threads compute what a loop with one thread does, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sglr
from sglr.core.errors import UsageError
from sglr.core.optim import OptimizerSpec
from sglr.stacking import autotune
from sglr.stacking.autotune import best_form
from sglr.stacking.passes import run_backward, run_forward
from sglr.stacking.side_by_side import side_by_side
from sglr.stacking.stack import Stack

SETTINGS: dict[str, Any] = {"clients": 5, "samples_per_client": 20, "epochs": 1, "test_samples": 20, "eval_every": 5}


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("model", "method"), [("cnn", "sglr"), pytest.param("resnet16", "sfl", marks=pytest.mark.slow)]
)
def test_weights_are_those_of_a_loop_with_one_thread(model: str, method: str, tmp_path: Path) -> None:
    run = {"parallel": 3, "looped": 1}
    found = {
        form: sglr.train(method, model=model, stacking=form, threads=threads, out=tmp_path / form, **SETTINGS).summary
        for form, threads in run.items()
    }
    assert found["parallel"]["choices"] == {"stacking": "parallel"}
    # The server computes with as many threads as it may: what is equal bit for bit is the clients' part.
    assert found["parallel"]["test"]["loss"] == pytest.approx(found["looped"]["test"]["loss"], rel=1e-4)


def make(_: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))


def make_stack(module: Any = make, rows: int = 7, *, stacked: bool = False) -> Stack:
    torch.default_generator.manual_seed(0)
    spec = OptimizerSpec.parse("adam")
    return Stack(module, rows, spec, clip_norm=None, stacked=stacked, device=torch.device("cpu"))


@pytest.mark.parametrize("rows", [(0, 1, 2, 3, 4, 5, 6), (1, 4)])
def test_outputs_gradients_and_buffers_are_the_same_bit_for_bit(rows: tuple[int, ...]) -> None:
    inputs = torch.randn(len(rows), 5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    found: dict[str, list[Tensor]] = {}
    for form, threads in {"looped": 1, "parallel": 3}.items():
        torch.set_num_threads(threads)
        stack = make_stack()
        stack.run_as(form)
        assert stack.form == form
        forward = run_forward(stack, rows, inputs, by_inputs=True)
        gradients = run_backward(forward, forward.outputs + 1)
        assert gradients.inputs is not None
        found[form] = [forward.outputs, *gradients.weights, gradients.inputs, *stack.buffers.values()]
    assert all(torch.equal(*pair) for pair in zip(*found.values(), strict=True))


def test_every_part_has_one_thread_and_torch_has_its_own_again_even_after_an_error() -> None:
    seen = side_by_side(lambda part, rows: (part, rows, torch.get_num_threads()), 7)
    assert seen == [(0, slice(0, 2), 1), (1, slice(2, 4), 1), (2, slice(4, 7), 1)]

    def fail(part: int, rows: slice) -> None:
        raise ValueError(f"part {part} with {rows.stop - rows.start} rows")

    with pytest.raises(ValueError, match="part 0 with 2 rows"):
        side_by_side(fail, 7)
    assert torch.get_num_threads() == 3


def test_frozen_weights_are_there_once() -> None:
    stack = make_stack(lambda _: make(0).requires_grad_(False))
    other = stack.runner.of_worker(2)
    assert other is stack.runner.of_worker(2) is not stack.runner
    mine, others = (list(one._template.parameters()) for one in (stack.runner, other))
    assert all(a is b for a, b in zip(mine, others, strict=True))


def with_dropout(_: int) -> nn.Module:
    return nn.Sequential(make(0), nn.Dropout(0.5))


def test_it_is_measured_beside_the_others_where_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGLR_TUNING", "on")
    monkeypatch.setenv("SGLR_CACHE_DIR", str(tmp_path))
    measured: list[list[str]] = []

    def measure(_: Stack, __: Any, forms: list[str]) -> dict[str, float]:
        measured.append(list(forms))
        return {form: 0.1 if form == "parallel" else 1.0 for form in forms}

    monkeypatch.setattr(autotune, "measure", measure)
    inputs = torch.zeros(7, 5, 3, 8, 8)
    random = torch.get_rng_state()
    assert best_form(make_stack(stacked=True), lambda _: inputs) == "parallel"
    assert best_form(make_stack(with_dropout, stacked=True), lambda _: inputs) == "stacked"
    assert best_form(make_stack(), lambda _: inputs) == "parallel"  # one that can't be stacked
    assert best_form(make_stack(with_dropout), lambda _: inputs) == "looped"
    torch.set_num_threads(1)
    assert best_form(make_stack(stacked=True), lambda _: inputs) == "stacked"
    assert best_form(make_stack(), lambda _: inputs) == "looped"
    both = ["stacked", "looped"]
    assert measured == [[*both, "parallel"], both, ["looped", "parallel"], both]
    assert torch.equal(torch.get_rng_state(), random)


def test_random_numbers_in_threads_are_refused(tmp_path: Path) -> None:
    def network(shape: tuple[int, ...], classes: int) -> nn.Module:
        del shape
        return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, classes))

    with pytest.raises(UsageError, match=r"parallel.*draws random numbers.*--stacking auto"):
        sglr.train("psl", model=network, cut="2", stacking="parallel", threads=3, out=tmp_path / "run", **SETTINGS)
