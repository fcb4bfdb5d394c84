"""Merged batch normalisation gives the numbers of a loop over clients: outputs, gradients and statistics."""

from __future__ import annotations

from copy import deepcopy

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vjp, vmap
from torch.profiler import profile

from sglr.stacking.layers import stacked_layers

State = dict[str, Tensor]


def drawn(clients: int, channels: int, dims: int, affine: bool = True, tracked: bool = True) -> list[nn.Module]:
    kind = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
    norms = [kind(channels, affine=affine, momentum=0.3, track_running_stats=tracked) for _ in range(clients)]
    for norm in norms:
        for tensor in [*norm.parameters(), *norm.buffers()]:
            tensor.data = torch.rand_like(tensor) + 0.5 if tensor.is_floating_point() else tensor.data
    return [nn.Sequential(norm, nn.Tanh()) for norm in norms]


def run_stacked(segments: list[nn.Module], x: Tensor, at: int, g: Tensor) -> tuple[Tensor, State, State, Tensor]:
    """Return outputs, new buffers, weight gradients and input gradients, clients first."""
    weights, buffers = stack_module_state(segments)

    def client(weights: State, buffers: State, x: Tensor) -> tuple[Tensor, State]:
        fresh = {name: value.clone() for name, value in buffers.items()}
        return functional_call(segments[0], (weights, fresh), (x,)), fresh

    x = x.movedim(0, at).contiguous().requires_grad_()
    with stacked_layers():
        y, fresh = vmap(client, in_dims=(0, 0, at))(weights, buffers, x)
    *slopes, towards = torch.autograd.grad(y, [*weights.values(), x], g)
    return y, fresh, dict(zip(weights, slopes, strict=True)), towards.movedim(at, 0)


def assert_like_a_loop(segments: list[nn.Module], x: Tensor, at: int) -> None:
    g = torch.randn_like(x)
    looped = deepcopy(segments)
    y, buffers, slopes, towards = run_stacked(segments, x, at, g)
    for i, (segment, rows) in enumerate(zip(looped, x, strict=True)):
        rows = rows.clone().requires_grad_()
        expected = segment(rows)
        expected.backward(g[i])
        close = {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(y[i], expected, **close)
        torch.testing.assert_close(towards[i], rows.grad, **close)
        for name, weight in segment.named_parameters():
            torch.testing.assert_close(slopes[name][i], weight.grad, **close)
        for name, value in segment.named_buffers():
            torch.testing.assert_close(buffers[name][i], value, **close)


@given(
    clients=st.integers(1, 4),
    channels=st.integers(1, 3),
    dims=st.integers(0, 3),
    at=st.integers(0, 2),
    affine=st.booleans(),
    tracked=st.booleans(),
    training=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_is_like_a_loop_over_clients(
    clients: int, channels: int, dims: int, at: int, affine: bool, tracked: bool, training: bool
) -> None:
    segments = [segment.train(training) for segment in drawn(clients, channels, dims, affine, tracked)]
    assert_like_a_loop(segments, torch.randn(clients, 5, channels, *[3] * dims), at)


def test_channels_last_is_kept_and_normalised_once() -> None:
    segments = drawn(3, 4, 2)
    weights, buffers = stack_module_state(segments)
    x = torch.randn(2, 12, 5, 5).contiguous(memory_format=torch.channels_last).unflatten(1, (3, 4))

    def client(weights: State, buffers: State, x: Tensor) -> Tensor:
        return functional_call(segments[0], (weights, {k: v.clone() for k, v in buffers.items()}), (x,))

    run = vmap(client, in_dims=(0, 0, 1), out_dims=1)
    with stacked_layers(), profile() as measured:
        y = run(weights, buffers, x)
    names = [event.key for event in measured.key_averages()]
    assert y.flatten(1, 2).is_contiguous(memory_format=torch.channels_last)
    assert "aten::native_batch_norm" in names
    assert "aten::mul" not in names


def test_takes_gradients_through_vjp_as_well() -> None:
    segments = drawn(3, 2, 1)
    x, g = torch.randn(3, 4, 2, 6), torch.randn(3, 4, 2, 6)
    weights, buffers = stack_module_state(segments)
    weights = {name: value.detach() for name, value in weights.items()}

    def clients(weights: State) -> tuple[Tensor, State]:
        def client(weights: State, buffers: State, x: Tensor) -> tuple[Tensor, State]:
            fresh = {name: value.clone() for name, value in buffers.items()}
            return functional_call(segments[0], (weights, fresh), (x,)), fresh

        return vmap(client)(weights, buffers, x)

    with stacked_layers():
        _, extra_gradient, fresh = vjp(clients, weights, has_aux=True)
    _, expected_fresh, expected, _ = run_stacked(segments, x, 0, g)
    torch.testing.assert_close(extra_gradient(g)[0], expected)
    torch.testing.assert_close(fresh, expected_fresh)


def test_clients_may_share_weights() -> None:
    norm = nn.BatchNorm1d(2)
    x, buffers = torch.randn(3, 4, 2), stack_module_state([norm] * 3)[1]

    def client(buffers: State, x: Tensor) -> Tensor:
        return functional_call(norm, (dict(norm.named_parameters()), {k: v.clone() for k, v in buffers.items()}), x)

    with stacked_layers():
        y = vmap(client)(buffers, x)
    torch.testing.assert_close(y, torch.stack([norm(rows) for rows in x]))


def test_outside_of_vmap_nothing_changes() -> None:
    segment = drawn(1, 3, 0)[0]
    other = deepcopy(segment)
    x = torch.randn(4, 3)
    with stacked_layers():
        y = segment(x)
        y.sum().backward()
    expected = other(x)
    expected.sum().backward()
    assert torch.equal(y, expected)
    assert all(torch.equal(a, b) for a, b in zip(segment.buffers(), other.buffers(), strict=True))
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(segment.parameters(), other.parameters(), strict=True))


def test_gradients_inside_vmap_follow_the_ordinary_rule() -> None:
    def loss(weight: Tensor, x: Tensor) -> Tensor:
        mean, var = torch.zeros_like(x[0]), torch.ones_like(x[0])
        return nn.functional.batch_norm(x, mean, var, weight, None, training=True).square().sum()

    weight, x = torch.rand(3, 2), torch.randn(3, 4, 2)
    with stacked_layers():
        slopes = vmap(grad(loss))(weight, x)
    torch.testing.assert_close(slopes, torch.stack([grad(loss)(w, rows) for w, rows in zip(weight, x, strict=True)]))
