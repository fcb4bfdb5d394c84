"""Copies of a segment side by side behave as the same modules one after another, each with its own optimizer."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sglr.core.optim import OptimizerSpec
from sglr.stacking import row_optimizer
from sglr.stacking.row_optimizer import clip_rows
from sglr.stacking.stack import Stack

ROWS = 3
both_ways = pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "looped"])


def make_module(seed: int) -> nn.Module:
    torch.default_generator.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))


def make_images(seed: int) -> nn.Module:
    torch.default_generator.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 1, stride=2)
    )


def make_stack(
    make: Callable[[int], nn.Module] = make_module,
    optimizer: str = "sgd",
    *,
    stacked: bool = True,
    clip_norm: float | None = None,
    rows: int = ROWS,
) -> Stack:
    spec = OptimizerSpec.parse(optimizer)
    device = torch.device("cpu")
    return Stack(make, rows, spec, clip_norm=clip_norm, stacked=stacked, device=device)


def test_a_stack_says_whether_its_copies_convolve_frozen_weights_included() -> None:
    assert make_stack(make_images).convolves
    assert not make_stack(make_module).convolves
    assert make_stack(lambda seed: make_images(seed).requires_grad_(False)).convolves


# Forward and backward.


@both_ways
@pytest.mark.parametrize(("make", "shape"), [(make_module, (5, 4)), (make_images, (5, 2, 8, 8))])
@pytest.mark.parametrize("rows", [(0, 1, 2), (0, 2), (1,)], ids=str)
def test_outputs_gradients_and_statistics_equal_a_loop_over_modules(stacked, make, shape, rows) -> None:
    stack = make_stack(make, stacked=stacked)
    inputs = torch.randn(len(rows), *shape)
    modules = {row: make(row) for row in range(ROWS)}
    forward = stack.forward(rows, inputs)
    outward = torch.randn_like(forward.outputs)
    found = dict(zip(stack.parameters, stack.backward(forward, outward).weights, strict=True))
    for place, row in enumerate(rows):
        output = modules[row](inputs[place])
        output.backward(outward[place])
        torch.testing.assert_close(forward.outputs[place].detach(), output.detach(), atol=1e-5, rtol=1e-5)
        for name, parameter in modules[row].named_parameters():
            torch.testing.assert_close(found[name][place], parameter.grad, atol=1e-4, rtol=1e-4)
    for row, module in modules.items():  # those that did not run have their first statistics
        for name, buffer in module.named_buffers():
            torch.testing.assert_close(stack.buffers[name][row], buffer)


@both_ways
@pytest.mark.parametrize("rows", [(0, 1, 2), (2,)], ids=str)
def test_prediction_uses_running_statistics_and_changes_nothing(stacked: bool, rows: tuple[int, ...]) -> None:
    stack = make_stack(stacked=stacked)
    modules = [make_module(row) for row in range(ROWS)]
    inputs = torch.randn(ROWS, 6, 4)
    stack.forward((0, 1, 2), inputs)
    for row, module in enumerate(modules):
        module(inputs[row])
        module.eval()
    before = {name: tensor.clone() for name, tensor in stack.state().items()}
    found = stack.predict(rows, inputs[0])
    for place, row in enumerate(rows):
        torch.testing.assert_close(found[place], modules[row](inputs[0]).detach(), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in stack.state().items())


def test_a_row_that_ran_alone_can_go_back_after_others_ran() -> None:
    """Unequal batches: rows of one size run, then those of another, and only then all go back."""
    stack = make_stack()
    first = stack.forward((0,), torch.randn(1, 2, 4))
    second = stack.forward((1, 2), torch.randn(2, 3, 4))
    assert all(torch.isfinite(g).all() for g in stack.backward(first, torch.ones(1, 2, 2)).weights)
    assert all(torch.isfinite(g).all() for g in stack.backward(second, torch.ones(2, 3, 2)).weights)


def make_dropout(_: int) -> nn.Module:
    """Build a dropout behind a layer that changes nothing, so that there is a weight to stack."""
    layer = nn.Linear(8, 8, bias=False)
    nn.init.eye_(layer.weight)
    return nn.Sequential(layer, nn.Dropout(0.5))


@both_ways
def test_dropout_differs_between_clients(stacked: bool) -> None:
    stack = make_stack(make_dropout, stacked=stacked)
    assert stack.stacked == stacked
    torch.default_generator.manual_seed(0)
    outputs = stack.forward((0, 1, 2), torch.ones(ROWS, 8, 8)).outputs
    kept = [outputs[row] > 0 for row in range(ROWS)]
    assert 0.2 < float(torch.stack(kept).float().mean()) < 0.8
    assert not torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[1], kept[2])
    assert torch.equal(stack.predict((0, 1), torch.ones(8, 8)), torch.ones(2, 8, 8))


class Tied(nn.Module):
    """Uses one weight twice, and has one that it does not use."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.default_generator.manual_seed(seed)
        self.first = nn.Linear(3, 3)
        self.second = self.first
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


@both_ways
def test_shared_and_unused_weights(stacked: bool) -> None:
    stack = make_stack(Tied, stacked=stacked)
    inputs = torch.randn(ROWS, 4, 3)
    forward = stack.forward((0, 1, 2), inputs)
    stack.update((0, 1, 2), stack.backward(forward, torch.ones(ROWS, 4, 3)).weights, 0.1)
    for row in range(ROWS):
        module = Tied(row)
        module(inputs[row]).sum().backward()
        found = stack.weights((row,))
        torch.testing.assert_close(found["first.weight"][0], (module.first.weight - 0.1 * module.first.weight.grad))
        assert torch.equal(found["unused"][0], torch.ones(2))


@both_ways
def test_a_segment_without_weights_runs_and_steps(stacked: bool) -> None:
    stack = make_stack(lambda _: nn.ReLU(), "adam", stacked=stacked)
    forward = stack.forward((0, 2), torch.tensor([[[-1.0, 2.0]], [[3.0, -4.0]]]))
    assert forward.outputs.tolist() == [[[0.0, 2.0]], [[3.0, 0.0]]]
    stack.update((0, 2), stack.backward(forward, torch.ones(2, 1, 2)).weights, 0.1)
    assert stack.predict((0, 1), torch.tensor([[-1.0, 5.0]])).tolist() == [[[0.0, 5.0]]] * 2
    assert stack.state() == {}
    stack.restore({})


def test_the_first_weights_are_copied_not_shared() -> None:
    modules = [make_module(row) for row in range(2)]
    first = copy.deepcopy(modules[1].state_dict())
    spec = OptimizerSpec.parse("sgd")
    stack = Stack(modules.__getitem__, 2, spec, clip_norm=None, stacked=True, device=torch.device("cpu"))
    stack.update((1,), [torch.ones(1, *t.shape[1:]) for t in stack.parameters.values()], 0.1)
    assert all(torch.equal(first[name], tensor) for name, tensor in modules[1].state_dict().items())


# Optimizers: every row has its own.

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {}),
    "sgd:momentum=0.9": (torch.optim.SGD, {"momentum": 0.9}),
    "sgd:momentum=0.9,nesterov=True,weight_decay=0.01": (
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    ),
    "adam": (torch.optim.Adam, {}),
    "adam:amsgrad=True": (torch.optim.Adam, {"amsgrad": True}),
    "adamw": (torch.optim.AdamW, {}),
    "adamw:weight_decay=0.1": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "rmsprop:momentum=0.5,centered=True": (torch.optim.RMSprop, {"momentum": 0.5, "centered": True}),
    "adagrad": (torch.optim.Adagrad, {}),
    "nadam": (torch.optim.NAdam, {}),
    "radam": (torch.optim.RAdam, {}),
    "adamax": (torch.optim.Adamax, {}),
}

ABSENCES = st.lists(st.sets(st.integers(0, ROWS - 1), min_size=1).map(sorted).map(tuple), min_size=1, max_size=8)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@given(present=ABSENCES, seed=st.integers(0, 2**31))
@settings(max_examples=10)
def test_any_optimizer_over_rows_equals_one_per_client(optimizer: str, present, seed: int) -> None:
    """Momentum, second moments and step counts of a client stand still while it is absent."""
    stack = make_stack(lambda i: nn.Linear(2, 3), optimizer)
    build, options = OPTIMIZERS[optimizer]
    own = [[nn.Parameter(tensor[row].detach().clone()) for tensor in stack.parameters.values()] for row in range(ROWS)]
    optimizers = [build(parameters, lr=0.1, **options) for parameters in own]
    rng = torch.Generator().manual_seed(seed)
    for step, rows in enumerate(present):
        rate = 0.1 / (1 + step)
        gradients = [torch.randn(len(rows), *t.shape[1:], generator=rng) for t in stack.parameters.values()]
        stack.update(rows, gradients, rate)
        for place, row in enumerate(rows):
            for parameter, gradient in zip(own[row], gradients, strict=True):
                parameter.grad = gradient[place].clone()
            optimizers[row].param_groups[0]["lr"] = rate
            optimizers[row].step()
    for position, tensor in enumerate(stack.parameters.values()):
        for row in range(ROWS):
            torch.testing.assert_close(tensor[row].detach(), own[row][position].detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "sgd:momentum=0.9", "rmsprop", "nadam"])
@pytest.mark.parametrize("rows_of_a_band", [1, 2, 100])
@given(present=ABSENCES)
@settings(max_examples=5)
def test_rows_that_first_step_together_go_on_as_if_they_had_always_stepped_apart(
    optimizer: str, rows_of_a_band: int, present
) -> None:
    """Bands of any height, and single numbers as weights, are steps of the same optimizers."""
    everyone = tuple(range(ROWS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_optimizer, "UPDATE_BYTES", 4 * 9 * rows_of_a_band)  # 9 numbers a row
        banded = make_stack(lambda i: nn.Linear(2, 3), optimizer)
    apart = make_stack(lambda i: nn.Linear(2, 3), optimizer)
    apart.restore(banded.state() | {"optimizer.weight.rows": torch.tensor([], dtype=torch.int64)})
    for step, rows in enumerate([everyone, everyone, *present]):
        rng = torch.Generator().manual_seed(step)
        gradients = [torch.randn(len(rows), *t.shape[1:], generator=rng) for t in banded.parameters.values()]
        banded.update(rows, gradients, 0.1)
        apart.update(rows, gradients, 0.1)
        assert_same_state(banded.state(), apart.state())


def assert_same_state(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    for name in {*first, *second}:
        if not name.endswith(".rows"):
            torch.testing.assert_close(first[name], second[name], atol=1e-6, rtol=1e-5)


def test_a_weight_that_is_a_single_number() -> None:
    class Scale(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(1.0 + seed))

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * x

    first, second = make_stack(Scale, "adam"), make_stack(Scale, "adam")
    for rows in ((0, 1, 2), (0, 2)):
        first.update(rows, [torch.ones(len(rows))], 0.1)
        second.restore({name: tensor.clone() for name, tensor in first.state().items()})
        assert_same_state(first.state(), second.state())
    assert first.state()["optimizer.factor.step"].tolist() == [2, 1, 2]
    torch.testing.assert_close(first.weights((0, 1, 2))["factor"], torch.tensor([0.8, 1.9, 2.8]))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@given(before=ABSENCES, after=ABSENCES)
@settings(max_examples=5)
def test_a_restored_stack_goes_on_to_the_bit(optimizer: str, before, after) -> None:
    def teach(stack: Stack, rows: tuple[int, ...], step: int) -> None:
        rng = torch.Generator().manual_seed(step)
        stack.update(
            rows, [torch.randn(len(rows), *t.shape[1:], generator=rng) for t in stack.parameters.values()], 0.1
        )

    first, second = make_stack(optimizer=optimizer), make_stack(lambda i: make_module(i + 5), optimizer)
    for step, rows in enumerate(before):
        teach(first, rows, step)
    teach(second, (0, 1, 2), 100)  # what it had learned is forgotten
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    for step, rows in enumerate(after, start=len(before)):
        teach(first, rows, step)
        teach(second, rows, step)
    assert first.state().keys() == second.state().keys()
    assert all(torch.equal(tensor, second.state()[name]) for name, tensor in first.state().items())


def test_loading_weights_leaves_optimizer_state_and_other_rows() -> None:
    stack = make_stack(optimizer="adam")
    stack.update((0, 1), [torch.ones(2, *t.shape[1:]) for t in stack.parameters.values()], 0.1)
    before = {name: tensor.clone() for name, tensor in stack.state().items()}
    stack.load((1,), {name: torch.full_like(tensor[0], 7) for name, tensor in stack.weights((0,)).items()})
    for name, tensor in stack.state().items():
        if name.startswith("weights."):
            assert (tensor[1] == 7).all()
            assert torch.equal(tensor[[0, 2]], before[name][[0, 2]])
        else:
            assert torch.equal(tensor, before[name])


def test_weights_are_a_copy() -> None:
    stack = make_stack()
    taken = stack.weights((0, 1, 2))
    stack.update((0,), [torch.ones(1, *t.shape[1:]) for t in stack.parameters.values()], 0.1)
    assert not torch.equal(taken["0.weight"], stack.weights((0, 1, 2))["0.weight"])


# Clipping.


def test_every_row_is_clipped_over_all_its_weights_by_hand() -> None:
    weight = torch.tensor([[[3.0, 0.0], [0.0, 0.0]], [[0.3, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    bias = torch.tensor([[4.0, 0.0], [0.4, 0.0], [0.0, 0.0]])
    clipped = clip_rows([weight, bias], 1.0)
    # Norms are 5, 0.5 and 0: the first is divided by 5, the others stay.
    np.testing.assert_allclose(clipped[0][:, 0, 0], [0.6, 0.3, 0.0], atol=1e-6)
    np.testing.assert_allclose(clipped[1][:, 0], [0.8, 0.4, 0.0], atol=1e-6)


@given(st.integers(0, 2**31), st.floats(0.01, 10))
def test_clipping_equals_torchs_row_by_row(seed: int, clip_norm: float) -> None:
    stack = make_stack(clip_norm=clip_norm)
    rng = torch.Generator().manual_seed(seed)
    gradients = [torch.randn(2, *t.shape[1:], generator=rng) for t in stack.parameters.values()]
    before = stack.weights((0, 2))
    stack.update((0, 2), gradients, 0.5)
    after = stack.weights((0, 2))
    for place in range(2):
        own = [nn.Parameter(torch.zeros_like(gradient[place])) for gradient in gradients]
        for parameter, gradient in zip(own, gradients, strict=True):
            parameter.grad = gradient[place].clone()
        torch.nn.utils.clip_grad_norm_(own, clip_norm)
        for name, parameter in zip(stack.parameters, own, strict=True):
            wanted = before[name][place] - 0.5 * parameter.grad
            torch.testing.assert_close(after[name][place], wanted, atol=1e-5, rtol=1e-5)
