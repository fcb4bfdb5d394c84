"""A linear layer of stacked clients is each client's own, and its gradient is laid out as its weights are."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import Linear
from torch.nn import functional as F

from sglr.stacking.layers import stacked_layers
from sglr.stacking.linear import linear_rows


@given(clients=st.integers(1, 4), batch=st.integers(1, 4), at=st.integers(0, 1), bias=st.booleans())
def test_outputs_and_gradients_are_those_of_a_loop(clients: int, batch: int, at: int, bias: bool) -> None:
    layers = [Linear(3, 5, bias) for _ in range(clients)]
    x = torch.randn(clients, batch, 3).movedim(0, at).contiguous().requires_grad_()
    weights, _ = stack_module_state(layers)
    with stacked_layers():
        y = vmap(lambda own, rows: functional_call(layers[0], own, (rows,)), in_dims=(0, at))(weights, x)
    found = torch.autograd.grad(y.square().sum(), [*weights.values(), x])
    for row, layer in enumerate(layers):
        own = x.detach().select(at, row).requires_grad_()
        expected = layer(own)
        torch.testing.assert_close(y[row], expected)
        wanted = torch.autograd.grad(expected.square().sum(), [*layer.parameters(), own])
        for gradient, slope in zip([*(g[row] for g in found[:-1]), found[-1].select(at, row)], wanted, strict=True):
            torch.testing.assert_close(gradient, slope)


def test_the_gradient_by_the_weights_needs_no_copy_for_the_optimizer() -> None:
    x, weight = torch.randn(3, 4, 5), torch.randn(3, 6, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(linear_rows(x, weight, None).sum(), weight)
    assert gradient.is_contiguous()


def test_inputs_that_are_no_batch_of_vectors_follow_torch() -> None:
    weight, x = torch.randn(2, 5, 3), torch.randn(2, 4, 7, 3)
    with stacked_layers():
        y = vmap(F.linear)(x, weight)
    for row in range(2):
        torch.testing.assert_close(y[row], F.linear(x[row], weight[row]))
