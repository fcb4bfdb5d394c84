"""Cutting a model changes nothing but where it runs; what cannot be cut is explained."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from sglr.core.errors import UsageError
from sglr.splitting import Split, check_segments, cut_points, split


class Classic(nn.Module):
    """A net in the style of the PyTorch examples: functions between layers, dropout by ``self.training``."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.conv = nn.Conv2d(4, 6, 3)
        self.scale = nn.Parameter(torch.randn(6, 1, 1))
        self.fc1 = nn.Linear(24, 8)
        self.fc2 = nn.Linear(8, 3)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.features(x)
        if mask is not None:
            x = x * mask
        _batch, _, _, _ = x.shape
        x = F.max_pool2d(F.relu(self.conv(x), inplace=True), 2) * self.scale
        x = F.dropout(x, 0.5, training=self.training)
        x = F.dropout(x, 0.25, self.training)
        return self.fc2(F.relu(self.fc1(torch.flatten(x, 1))))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = nn.Linear(5, 4), nn.Sequential(Block(), Block()), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.last.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.first(x)))


class Undecided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        return self.out(x if x.sum() > 0 else -x)


class InPlace(nn.Module):
    """Changes a value by a statement, whose result nobody takes."""

    def __init__(self, change: Callable[[InPlace, Tensor], object], between: bool = False) -> None:
        super().__init__()
        self.change, self.between = change, between
        self.relu = nn.ReLU(inplace=True)
        self.a, self.b, self.c = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        before = torch.tanh(x) if self.between else 0
        self.change(self, x)
        return self.c(self.b(x) + before)


CHANGES: list[Callable[[InPlace, Tensor], object]] = [
    lambda net, x: x.relu_(),
    lambda net, x: net.relu(x),
    lambda net, x: F.relu(x, inplace=True),
    lambda net, x: torch.relu_(x),
    lambda net, x: x.clamp_(0, 1).mul_(2.0),
    lambda net, x: x.view(-1, 2, 2).relu_(),
    lambda net, x: x[:, :2].mul_(3.0),
    lambda net, x: torch.clamp(x, 0, 1, out=x),
]


def sequence() -> nn.Sequential:
    inner = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 3)), nn.Tanh())
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), inner, nn.Linear(3, 2))


def refusal(module: nn.Module, at: int | str) -> UsageError:
    with pytest.raises(UsageError) as raised:
        split(module, at)
    return raised.value


def assert_same(module: nn.Module, segments: Split, x: Tensor) -> None:
    """Same output in both modes, same gradients of inputs and weights under the original names."""
    for training in (True, False):
        whole, lower, upper = (deepcopy(m).train(training) for m in (module, *segments))
        torch.manual_seed(1)
        expected = whole(x)
        torch.manual_seed(1)
        smashed = lower(x)
        arrived = smashed.detach().requires_grad_()
        output = upper(arrived)
        assert torch.equal(output, expected)
        expected.square().sum().backward()
        output.square().sum().backward()
        smashed.backward(arrived.grad)
        grads = {n: p.grad for part in (lower, upper) for n, p in part.named_parameters()}
        for name, weight in whole.named_parameters():
            torch.testing.assert_close(grads[name], weight.grad)
        buffers = {n: b for part in (lower, upper) for n, b in part.named_buffers()}
        assert all(torch.equal(buffers[name], b) for name, b in whole.named_buffers())


@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=6), data=st.data())
@settings(max_examples=12, deadline=None)
def test_a_sequential_is_cut_before_the_child_of_that_number(sizes: list[int], data: st.DataObject) -> None:
    module = nn.Sequential(*(nn.Linear(a, b) for a, b in zip([3, *sizes], sizes, strict=False)))
    at = data.draw(st.integers(1, len(module)) | st.integers(1 - len(module), -1))
    lower, upper = split(module, at)
    kept = [name for name, _ in lower.named_children()]
    assert kept == [str(number) for number in range(len(module))][:at]
    assert_same(module, Split(lower, upper), torch.randn(2, 3))


@pytest.mark.parametrize(("at", "kept"), [("2.1.0", 2), ("2.1", 3), ("2.2", 3), ("2", 3), ("0", 1), ("1", 1)])
def test_nested_sequentials_are_cut_behind_the_named_layer_keeping_names(at: str, kept: int) -> None:
    module = sequence()
    segments = split(module, at)
    assert type(segments.lower) is nn.Sequential
    weights = [name for name in segments.lower.state_dict() if name.endswith("weight")]
    assert [*segments.lower.state_dict(), *segments.upper.state_dict()] == list(module.state_dict())
    assert len(weights) == kept
    assert_same(module, segments, torch.randn(3, 5))


@pytest.mark.parametrize("at", ["", "output", 4])
def test_behind_the_last_layer_the_server_has_nothing_to_do(at: int | str) -> None:
    module = sequence()
    lower, upper = split(module, at)
    assert isinstance(upper, nn.Identity)
    assert_same(module, Split(lower, upper), torch.randn(3, 5))


@pytest.mark.parametrize("at", [0, 5, -4, -9])
def test_a_number_outside_the_model_is_refused(at: int) -> None:
    error = refusal(sequence(), at)
    assert (error.field, error.value) == ("cut", at)
    assert "from 1 to 4" in error.remedy


def test_a_number_is_refused_where_there_is_no_sequential() -> None:
    assert "Residual" in refusal(Residual(), 1).problem


@pytest.mark.parametrize("at", ["features.0", "features", "conv", "relu", "mul", "dropout_1", "flatten", "fc1", "fc2"])
def test_any_module_is_cut_behind_a_layer_or_a_node_of_its_graph(at: str) -> None:
    torch.manual_seed(0)
    module = Classic()
    assert_same(module, split(module, at), torch.randn(4, 1, 8, 8))


def test_cut_points_are_all_cuttable_and_in_order() -> None:
    assert cut_points(Residual()) == ["stem", "blocks.0", "blocks", "head"]
    assert cut_points(sequence()) == ["0", "1", "2.0", "2.1.0", "2.1", "2", "3"]
    assert cut_points(Tied()) == ["last"]
    assert cut_points(Undecided()) == []
    module = Classic()
    for at in cut_points(module):
        assert_same(module, split(module, at), torch.randn(4, 1, 8, 8))


@pytest.mark.parametrize("at", ["first", "middle"])
def test_a_weight_used_on_both_sides_is_named(at: str) -> None:
    problem = refusal(Tied(), at).problem
    assert "first.weight" in problem
    assert "last.weight" in problem


def test_a_layer_called_on_both_sides_is_named() -> None:
    layer = nn.Linear(3, 3)
    assert "0.bias (behind the cut as 2.bias)" in refusal(nn.Sequential(layer, nn.ReLU(), layer), 1).problem


def test_a_stateless_layer_may_serve_on_both_sides() -> None:
    relu = nn.ReLU()
    module = nn.Sequential(nn.Linear(3, 3), relu, nn.Linear(3, 3), relu)
    lower, upper = split(module, 2)
    assert_same(module, Split(lower, upper), torch.randn(2, 3))
    assert not {*lower.modules()} & {*upper.modules()}


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_value_that_a_statement_changes_in_place_is_changed_in_the_parts(
    change: Callable[[InPlace, Tensor], object], between: bool
) -> None:
    torch.manual_seed(0)
    module, x = InPlace(change, between).eval(), torch.randn(6, 5)
    for at in ("a", "b"):
        lower, upper = split(module, at)
        with torch.no_grad():
            smashed = lower(x)
            # What reads the value before it is changed is the client's, too, where the client changes it.
            assert isinstance(smashed, tuple) == (between and at == "b")
            assert torch.equal(upper(smashed), module(x))


def test_a_server_may_change_what_has_arrived_by_a_statement() -> None:
    torch.manual_seed(0)
    module, x = InPlace(lambda _, x: x.mul_(3.0)), torch.randn(6, 5)
    assert_same(module, split(module, "a", x), x)


def test_parts_that_would_be_another_network_are_refused() -> None:
    class Added(InPlace):
        def forward(self, x: Tensor) -> Tensor:
            x = same = self.a(x)
            # To torch.fx this makes a new value, which the other name does not see.
            x += 1
            return self.c(self.b(x) + same)

    with pytest.raises(UsageError, match=r"cut = b: .* changes a value in place") as raised:
        split(Added(torch.relu), "b", torch.randn(2, 5))
    assert "x = x + y" in raised.value.remedy


def test_a_model_that_draws_numbers_in_evaluation_is_cut_all_the_same() -> None:
    class Drawing(Residual):
        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            first, second = F.dropout(x, 0.5), F.dropout(torch.tanh(x), 0.5)
            return self.head(first + second)

    # The client draws first what the whole model draws second.
    assert split(Drawing(), "dropout_1", torch.randn(2, 5)).lower is not None


def test_what_cannot_be_traced_is_explained() -> None:
    error = refusal(Undecided(), "fc")
    assert (error.field, error.value) == ("model", "Undecided")
    assert "control flow" in error.problem
    assert "Sequential" in error.remedy


def test_what_cannot_be_traced_may_be_a_child_of_a_sequential() -> None:
    module = nn.Sequential(Undecided(), nn.Linear(2, 2))
    assert cut_points(module) == ["0", "1"]
    assert_same(module, split(module, 1), torch.randn(3, 4))


def test_other_behaviour_in_training_is_refused_rather_than_frozen() -> None:
    class Noisy(Residual):
        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.head(x + torch.randn_like(x) if self.training else x)

    assert "training and in evaluation" in refusal(Noisy(), "stem").problem


@pytest.mark.parametrize(("at", "meant"), [("blocks.O", "blocks.0"), ("steem", "stem"), ("2", "blocks")])
def test_an_unknown_name_brings_the_known_ones(at: str, meant: str) -> None:
    error = refusal(Residual(), at)
    assert error.field == "cut"
    assert meant in error.remedy


@pytest.mark.parametrize(("module", "at"), [(sequence(), 2), (Residual(), "stem"), (sequence(), "")])
def test_segments_share_nothing_with_the_model_and_keep_its_mode(module: nn.Module, at: int | str) -> None:
    for training in (True, False):
        lower, upper = split(module.train(training), at)
        before = {p.data_ptr() for p in module.parameters()}
        assert not before & {p.data_ptr() for part in (lower, upper) for p in part.parameters()}
        assert all(m.training is training for part in (lower, upper) for m in part.modules())


def test_a_frozen_layer_keeps_its_own_mode() -> None:
    module = Classic().train()
    module.features[1].eval()
    lower, _ = split(module, "conv")
    assert not lower.get_submodule("features.1").training
    assert lower.get_submodule("features.0").training


@pytest.mark.parametrize("at", ["features", "mul"])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_traced_segments_can_be_stacked(at: str, memory: torch.memory_format) -> None:
    lowers = [split(Classic(), at).lower.to(memory_format=memory) for _ in range(3)]
    x = torch.randn(3, 2, 1, 8, 8)
    weights, buffers = stack_module_state(lowers)

    def run(weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        fresh = {name: value.clone() for name, value in buffers.items()}
        output: Tensor = functional_call(lowers[0], (weights, fresh), (x,))
        return output

    stacked = vmap(run)(weights, buffers, x)
    one_by_one = [lower(rows.contiguous(memory_format=memory)) for lower, rows in zip(lowers, x, strict=True)]
    torch.testing.assert_close(stacked, torch.stack(one_by_one), rtol=1e-4, atol=1e-5)


def test_an_example_shows_the_shapes_and_changes_nothing() -> None:
    segments = split(Classic(), "features.1")
    before = deepcopy(segments.lower.state_dict())
    x = torch.randn(2, 1, 8, 8)
    state = torch.get_rng_state()
    assert check_segments(segments, x, (3,)) == ((4, 6, 6), (3,))
    assert all(torch.equal(value, before[name]) for name, value in segments.lower.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("segments", "shape", "field", "said"),
    [
        (Split(nn.Linear(3, 4), nn.Linear(4, 2)), (2, 5), "cut", "does not take one input of shape [5]"),
        (Split(nn.Linear(3, 4), nn.Linear(5, 2)), (2, 3), "model", "one sample of smashed data of shape [4]"),
        (Split(nn.Linear(3, 4), nn.Linear(4, 9)), (2, 3), "model", "output has shape [2, 9], not [2, 2]"),
        (Split(nn.Linear(3, 4), nn.Identity()), (2, 6, 3), "model", "output has shape [2, 6, 4], not [2, 2]"),
        (Split(nn.LSTM(3, 4), nn.Identity()), (2, 3), "cut", "returns a tuple"),
        (Split(nn.Flatten(0), nn.Identity()), (2, 3), "cut", "its output for 2 inputs has shape [6]"),
    ],
)
def test_segments_that_do_not_fit_are_explained(segments: Split, shape: tuple[int, ...], field: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_segments(segments, torch.randn(shape), (2,))
    assert raised.value.field == field
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_split_tries_the_example_it_is_given() -> None:
    with pytest.raises(UsageError, match=r"shape \[7\]"):
        split(sequence(), 1, example=torch.randn(2, 7))
