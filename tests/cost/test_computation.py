"""Operations are counted by hand on small layers, add up over a cut, and follow the paper's rule."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sglr.core.model import build_model
from sglr.cost import computation
from sglr.cost.computation import segment_flops
from sglr.splitting import split


def layer(*children: nn.Module) -> nn.Module:
    return nn.Sequential(*children)


@given(width=st.integers(1, 9), out=st.integers(1, 9))
def test_a_linear_layer_takes_two_operations_for_each_weight_and_as_many_for_each_gradient(width, out):
    once = 2 * width * out
    client = segment_flops(nn.Linear(width, out), (width,))
    server = segment_flops(nn.Linear(width, out), (width,), input_gradient=True)
    assert (client.forward, client.backward) == (once, once)  # the weights' gradient alone
    assert (server.forward, server.backward) == (once, 2 * once)  # and the input's
    assert client.output_shape == (out,)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(("kind", "positions"), [(nn.Conv2d, 5 * 5), (nn.ConvTranspose2d, 10 * 10)])
def test_a_convolution_takes_two_operations_for_each_weight_and_position(kind, positions, groups):
    convolution = kind(6, 12, 3, stride=2, padding=1, groups=groups)
    once = 2 * positions * convolution.weight.numel()
    flops = segment_flops(convolution, (6, 10, 10), input_gradient=True)
    assert (flops.forward, flops.backward) == (once, 2 * once)


def test_the_backward_pass_stops_where_no_gradient_is_asked_for():
    first, second = 2 * 4 * 3, 2 * 3 * 2
    chain = layer(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    assert segment_flops(chain, (4,)).backward == first + 2 * second
    frozen = layer(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    frozen[0].requires_grad_(False)
    assert segment_flops(frozen, (4,)).backward == second
    assert segment_flops(nn.Identity(), (4,)).backward == 0
    assert segment_flops(nn.Identity(), (4,), input_gradient=True).total == 0


@pytest.mark.parametrize("name", ["mlp", "cnn", "alexnet", "resnet16"])
def test_client_and_server_together_take_what_the_whole_model_takes(name):
    shape = (1, 28, 28)
    whole = build_model(name, shape, 10)
    lower, upper = split(whole, whole.default_cut)
    client = segment_flops(lower, shape)
    server = segment_flops(upper, client.output_shape, input_gradient=True)
    together = segment_flops(whole, shape)
    assert client.forward + server.forward == together.forward
    assert client.backward + server.backward == together.backward
    assert client.paper + server.paper == together.paper == 3 * together.forward


def test_operations_without_a_formula_are_named_with_their_number():
    flops = segment_flops(
        layer(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.ReLU(), nn.MaxPool2d(2)), (1, 8, 8)
    )
    assert flops.unknown["relu"] == flops.unknown["threshold_backward"] == 2
    assert flops.unknown["max_pool2d_with_indices"] == flops.unknown["max_pool2d_with_indices_backward"] == 1
    assert any("batch_norm" in name for name in flops.unknown)
    assert not {"view", "t", "detach", "convolution", "mm"} & flops.unknown.keys()


def test_the_segment_its_buffers_and_the_random_numbers_stay_as_they_are():
    segment = layer(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
    segment.eval()
    before = {name: tensor.clone() for name, tensor in segment.state_dict().items()}
    numbers = torch.get_rng_state()
    segment_flops(segment, (4,))
    assert not segment.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in segment.state_dict().items())
    assert all(weight.grad is None for weight in segment.parameters())
    assert torch.equal(torch.get_rng_state(), numbers)


class Scaled(nn.Module):
    """Repeats a product as often as a setting says that its text does not show."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.times = times

    def forward(self, inputs: Tensor) -> Tensor:
        for _ in range(self.times):
            inputs = self.linear(inputs)
        return inputs


def test_a_structure_is_counted_once_and_another_anew(monkeypatch):
    counted = []
    count = computation._count
    monkeypatch.setattr(computation, "_count", lambda *given: counted.append(given) or count(*given))
    monkeypatch.setattr(computation, "_counted", {})
    assert segment_flops(Scaled(2), (4,)) == segment_flops(Scaled(2), (4,))
    assert len(counted) == 1
    assert segment_flops(Scaled(3), (4,)).forward == 1.5 * segment_flops(Scaled(2), (4,)).forward
    segment_flops(Scaled(2), (5, 4))
    segment_flops(Scaled(2), (4,), input_gradient=True)
    assert len(counted) == 4


class Looks(nn.Module):
    """Looks at its numbers, which shapes alone don't have."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs) if float(inputs.detach().sum()) > 0 else inputs


def test_a_segment_that_looks_at_its_numbers_is_counted_with_numbers():
    assert segment_flops(Looks(), (4,)).forward == 2 * 4 * 2


def test_a_segment_that_fails_raises_what_it_raises():
    with pytest.raises(RuntimeError, match="shape"):
        segment_flops(nn.Linear(3, 2), (4,))


class Attends(nn.Module):
    """Attention of a sequence to itself by torch's fused operation."""

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(inputs, inputs, inputs)


def test_fused_attention_is_counted():
    heads, length, width = 2, 5, 8
    products = 2 * (2 * heads * length * length * width)
    assert segment_flops(Attends(), (heads, length, width), input_gradient=True).forward == products


def test_layers_of_the_same_kind_under_other_names_are_counted_alike():
    named = nn.Sequential(OrderedDict(first=nn.Linear(3, 2)))
    assert segment_flops(named, (3,)) == segment_flops(layer(nn.Linear(3, 2)), (3,))
