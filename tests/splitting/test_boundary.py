"""Models that no tracer takes are cut by the boundary of a submodule, and refused where that would not be the model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

import sglr
from sglr.core.errors import UsageError
from sglr.splitting import cut_points, every_cut, split, split_in_three


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear, self.dropout = nn.LayerNorm(width), nn.Linear(width, width), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.linear(self.norm(x)))


class Looping(nn.Module):
    """Its control flow looks at data and at sizes, one weight is its own, and one layer is called twice."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.embed, self.token = nn.Linear(4, 8), nn.Parameter(torch.randn(1, 1, 8))
        self.blocks = nn.ModuleList([Block(8) for _ in range(3)])
        self.act, self.norm, self.head = nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            x = x.reshape(len(x), -1, 4)
        h = torch.cat([self.token.expand(len(x), -1, -1), self.act(self.embed(x))], 1)
        for number, block in enumerate(self.blocks):
            h = block(h) if number < 1 + len(x.shape) else h
        return self.head(self.act(self.norm(h[:, 0])))


class Skipping(Looping):
    """Behind its blocks, what was before them is used."""

    def forward(self, x: Tensor) -> Tensor:
        before = after = self.embed(x[: len(x)])
        for block in self.blocks:
            after = block(after)
        return self.head((before + after)[:, 0])


class Tied(Looping):
    """A layer with weights is called before and behind its blocks."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.blocks[0](self.embed(x[: len(x)]))
        return self.head(self.blocks[0](self.blocks[1](h))[:, 0])


class Windows(nn.Module):
    """A layer is called with several rows of each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        windows = self.first(x.reshape(len(x) * 5, 4))
        return self.head(self.second(windows.reshape(len(x), 5, 8))[:, 0])


@pytest.fixture
def example() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 5, 4)


PLACES = ["embed", "blocks.0", "blocks.1", "blocks.2", "norm", "act", "head"]


@pytest.mark.parametrize("at", PLACES)
def test_parts_give_the_model_s_output_bit_for_bit_and_have_its_weights_between_them(at: str, example: Tensor) -> None:
    model = Looping().eval()
    lower, upper = split(model, at, example)
    inputs = torch.randn(7, 5, 4)
    assert torch.equal(upper(lower(inputs)), model(inputs))
    state = model.state_dict()
    assert {*lower.state_dict(), *upper.state_dict()} == state.keys()
    assert not lower.state_dict().keys() & upper.state_dict().keys()
    assert all(torch.equal(value, state[name]) for part in (lower, upper) for name, value in part.state_dict().items())


def test_places_to_cut_are_found_in_the_order_of_execution(example: Tensor) -> None:
    assert cut_points(Looping()) == []
    assert cut_points(Looping(), example) == PLACES
    assert [place.layer for place in every_cut(Looping(), example)] == PLACES


def test_gradients_are_those_of_the_model(example: Tensor) -> None:
    model = Looping()
    for block in model.blocks:
        block.dropout.p = 0.0
    lower, upper = split(model, "blocks.0", example)
    model(example).square().sum().backward()
    smashed = lower(example)
    arrived = smashed.detach().requires_grad_()
    upper(arrived).square().sum().backward()
    smashed.backward(arrived.grad)
    wanted = dict(model.named_parameters())
    for name, weight in [*lower.named_parameters(), *upper.named_parameters()]:
        torch.testing.assert_close(weight.grad, wanted[name].grad)


def test_parts_of_several_clients_are_stacked(example: Tensor) -> None:
    for part in zip(*(split(Looping().eval(), "blocks.1", example) for _ in range(3)), strict=True):
        inputs = torch.randn(3, 2, 5, 4) if part[0].state_dict().keys() >= {"token"} else torch.randn(3, 2, 6, 8)
        weights, buffers = stack_module_state(list(part))
        together = vmap(lambda w, b, x, base=part[0]: functional_call(base, (w, b), (x,)))(weights, buffers, inputs)
        for one, module, each in zip(together, part, inputs, strict=True):
            torch.testing.assert_close(one, module(each))


@pytest.mark.parametrize(
    ("model", "at", "said"),
    [
        (Looping, "blocks.1.linear", "as a skip connection does"),
        (Skipping, "blocks.0", "as a skip connection does"),
        (Tied, "blocks.1", "used on both sides of the cut: blocks.0.linear.bias"),
        (Windows, "first", "keep the batch as first dimension"),
        (Looping, "blocks", "never calls this layer"),
        (Looping, "nothing", "no such layer"),
    ],
)
def test_a_cut_that_would_not_be_the_model_is_refused(
    model: type[nn.Module], at: str, said: str, example: Tensor
) -> None:
    with pytest.raises(UsageError, match=said):
        split(model(), at, example)


def test_a_layer_that_is_called_with_several_rows_of_each_sample_is_run_before_the_cut(example: Tensor) -> None:
    model = Windows().eval()
    lower, upper = split(model, "second", example)
    assert torch.equal(upper(lower(example)), model(example))


def test_a_tail_of_such_a_model_stays_with_the_client(example: Tensor) -> None:
    model = Looping().eval()
    lower, upper, tail = split_in_three(model, "blocks.0", "blocks.1", example)
    inputs = torch.randn(3, 5, 4)
    assert torch.equal(tail(upper(lower(inputs))), model(inputs))
    assert {name.partition(".")[0] for name in upper.state_dict()} == {"blocks"}
    assert {name.rpartition(".")[0] for name in tail.state_dict()} >= {"norm", "head", "blocks.2.linear"}


def test_clients_train_stacked_and_one_after_another_alike(tmp_path: object) -> None:
    found = []
    for stacking in ("stacked", "looped"):
        run = sglr.train(
            method="psl",
            model=lambda input_shape, classes: Looping(classes),
            cut="blocks.0",
            dataset=(torch.randn(40, 20, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 3),
            clients=2,
            epochs=1,
            batch_size=5,
            stacking=stacking,
            out=f"{tmp_path}/{stacking}",
        )
        found.append(run.summary["test"]["loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
