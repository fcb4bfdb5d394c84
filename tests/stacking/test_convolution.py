"""Convolutions of stacked clients are each client's own convolution, as a group or as a product of matrices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import Conv2d
from torch.nn import functional as F
from torch.profiler import profile

from sglr.stacking.convolution import grouped_convolution, matmul_convolution
from sglr.stacking.layers import stacked_layers

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}


@given(
    clients=st.integers(1, 4),
    groups=st.sampled_from([1, 1, 2]),
    kernel=st.sampled_from([1, 3, (2, 3)]),
    stride=st.sampled_from([1, 2, (2, 1)]),
    padding=st.sampled_from([0, 1, (0, 1)]),
    dilation=st.sampled_from([1, 2, (1, 2)]),
    bias=st.booleans(),
    by_matmul=st.booleans(),
)
def test_outputs_and_gradients_are_those_of_a_loop(
    clients: int, groups: int, kernel: Any, stride: Any, padding: Any, dilation: Any, bias: bool, by_matmul: bool
) -> None:
    layers = [Conv2d(2, 4, kernel, stride, padding, dilation, groups, bias) for _ in range(clients)]
    x = torch.randn(3, clients, 2, 7, 8, requires_grad=True)
    weights, _ = stack_module_state(layers)
    with stacked_layers(by_matmul=by_matmul):
        y = vmap(lambda own, images: functional_call(layers[0], own, (images,)), in_dims=(0, 1))(weights, x)
    found = torch.autograd.grad(y.square().sum(), [*weights.values(), x])
    for row, layer in enumerate(layers):
        own = x.detach()[:, row].requires_grad_()
        expected = layer(own)
        torch.testing.assert_close(y[row], expected, **CLOSE)
        wanted = torch.autograd.grad(expected.square().sum(), [*layer.parameters(), own])
        for gradient, slope in zip([*(g[row] for g in found[:-1]), found[-1][:, row]], wanted, strict=True):
            torch.testing.assert_close(gradient, slope, **CLOSE)


@pytest.mark.parametrize("convolve", [grouped_convolution, matmul_convolution])
def test_named_padding(convolve: Any) -> None:
    x, weight = torch.randn(3, 2, 4, 6, 6), torch.randn(2, 5, 4, 3, 3)
    y = convolve(x, weight, None, stride=1, padding="same", dilation=1, groups=1)
    for row in range(2):
        torch.testing.assert_close(y[:, row], F.conv2d(x[:, row], weight[row], padding="same"), **CLOSE)


def test_a_bias_is_no_operation_of_its_own() -> None:
    layers = [Conv2d(1, 4, 3) for _ in range(3)]
    weights, _ = stack_module_state(layers)
    with stacked_layers(), profile() as measured:
        vmap(lambda own, images: functional_call(layers[0], own, (images,)), in_dims=(0, 1))(
            weights, torch.randn(2, 3, 1, 6, 6)
        )
    counts = {event.key: event.count for event in measured.key_averages()}
    assert counts["aten::conv2d"] == 1
    assert not {"aten::add", "aten::add_"} & counts.keys()
