"""First weights that are drawn alone are those of a model that is built whole, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sglr.assembly.initial_weights import FirstWeights
from sglr.core.model import build_model
from sglr.core.registry import MODELS
from sglr.core.weights import state_of
from sglr.splitting import split


def built(make: Callable[[], nn.Module], client: int) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(1000 + client)
        return make()


def learnt(
    make: Callable[[], nn.Module], cut: str | int
) -> tuple[FirstWeights | None, Callable[[int], dict[str, Tensor]]]:
    def slow(client: int) -> dict[str, Tensor]:
        return state_of(split(built(make, client), cut).lower)

    found = FirstWeights.learn(
        lambda client: built(make, client),
        lambda whole: split(whole, cut).lower,
        clients=(1, 2),
        seed=lambda c: 1000 + c,
    )
    return found, slow


def assert_same(found: FirstWeights, slow: Callable[[int], dict[str, Tensor]]) -> None:
    for client in (0, 2, 7):
        wanted, drawn = slow(client), found(1000 + client)
        assert wanted.keys() == drawn.keys()
        assert all(torch.equal(wanted[name], drawn[name]) for name in wanted)


@pytest.mark.parametrize("name", MODELS.names())
def test_of_every_registered_model(name: str) -> None:
    def make() -> nn.Module:
        return build_model(name, {"cnn1d": (3, 16), "transformer": (16,)}.get(name, (3, 16, 16)), 10)

    found, slow = learnt(make, str(make().default_cut))
    assert found is not None, "this model's clients are built one by one, which is slow for many"
    assert_same(found, slow)


def test_the_generator_and_the_models_that_were_built_are_left_alone() -> None:
    before = torch.get_rng_state()
    found, _ = learnt(lambda: build_model("cnn", (1, 8, 8), 10), "pool1")
    assert found is not None
    found(5)
    assert torch.equal(before, torch.get_rng_state())


class Transformed(nn.Module):
    """Draws in several ways, the upper part before the lower."""

    def __init__(self) -> None:
        super().__init__()
        upper = nn.Linear(6, 2)
        self.lower = nn.Linear(4, 6)
        nn.init.trunc_normal_(self.lower.weight, std=0.2)
        nn.init.constant_(self.lower.bias, 0.5)
        self.norm = nn.BatchNorm1d(6)
        self.register_buffer("scale", torch.full((6,), 2.0))
        self.upper = upper

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.upper(self.norm(self.lower(x)) * self.scale)
        return y


def test_what_is_drawn_for_the_server_before_is_drawn_too() -> None:
    found, slow = learnt(Transformed, "mul")
    assert found is not None
    assert_same(found, slow)


def orthogonal() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    nn.init.orthogonal_(model[0].weight)
    return model


def outright() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].weight = nn.Parameter(torch.randn(4, 4))
    return model


def half_of_it() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight[:2].normal_()
    return model


@pytest.mark.parametrize("make", [orthogonal, outright, half_of_it])
def test_a_model_that_cannot_be_followed_is_not(make: Callable[[], nn.Module]) -> None:
    found, _ = learnt(make, 1)
    assert found is None
