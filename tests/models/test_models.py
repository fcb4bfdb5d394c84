"""Every registered model can be built, run, cut anywhere and stacked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from sglr.core.errors import UsageError
from sglr.core.model import build_model
from sglr.core.registry import MODELS
from sglr.splitting import check_segments, cut_points, split

IMAGE = (3, 16, 16)


@pytest.fixture(params=MODELS.names())
def name(request: pytest.FixtureRequest) -> str:
    torch.manual_seed(0)
    return str(request.param)


def test_gives_one_score_per_class_and_learns_by_back_propagation(name: str) -> None:
    model = build_model(name, IMAGE, 7)
    scores = model(torch.randn(4, *IMAGE))
    scores.square().sum().backward()
    assert scores.shape == (4, 7)
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_is_the_same_cut_anywhere_as_in_one_piece(name: str) -> None:
    model = build_model(name, IMAGE, 5).eval()
    x = torch.randn(2, *IMAGE)
    points = cut_points(model)
    assert MODELS.load(name).default_cut in points
    for at in points:
        lower, upper = split(model, at)
        assert torch.equal(upper(lower(x)), model(x)), at
        assert {*lower.state_dict(), *upper.state_dict()} == set(model.state_dict())


def test_segments_at_the_default_cut_can_be_stacked(name: str) -> None:
    clients = [split(build_model(name, IMAGE, 5), MODELS.load(name).default_cut) for _ in range(3)]
    lowers, uppers = [list(part) for part in zip(*clients, strict=True)]
    smashed = _assert_stackable(lowers, torch.randn(3, 2, *IMAGE))
    # Dropout draws other numbers stacked than one by one, so the server's segment is compared without it.
    _assert_stackable([upper.eval() for upper in uppers], smashed)


def _assert_stackable(segments: list[nn.Module], x: Tensor) -> Tensor:
    stacked = _stacked(segments, x)
    one_by_one = torch.stack([segment(rows) for segment, rows in zip(segments, x, strict=True)])
    torch.testing.assert_close(stacked, one_by_one, rtol=1e-4, atol=1e-5)
    return stacked


def _stacked(segments: list[nn.Module], x: Tensor) -> Tensor:
    weights, buffers = stack_module_state(segments)

    def run(weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        fresh = {key: value.clone() for key, value in buffers.items()}
        output: Tensor = functional_call(segments[0], (weights, fresh), (x,))
        return output

    return vmap(run)(weights, buffers, x)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 11), (1, 28, 28)])
@pytest.mark.parametrize("small", ["resnet16", "cnn", "mlp"])
def test_takes_small_and_odd_images(small: str, shape: tuple[int, ...]) -> None:
    model = build_model(small, shape, 4)
    check_segments(split(model, MODELS.load(small).default_cut), torch.randn(2, *shape), classes=4)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 32, 32), (3, 65, 40)])
def test_alexnet_adapts_to_the_image_size(shape: tuple[int, ...]) -> None:
    assert build_model("alexnet", shape, 4)(torch.randn(2, *shape)).shape == (2, 4)


def test_mlp_takes_tables() -> None:
    assert build_model("mlp", (13,), 3)(torch.randn(5, 13)).shape == (5, 3)


@pytest.mark.parametrize("images", ["resnet16", "alexnet", "cnn"])
@pytest.mark.parametrize(("shape", "said"), [((13,), "[13]"), ((1, 7, 28), "[1, 7, 28]")])
def test_refuses_what_it_cannot_take(images: str, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        build_model(images, shape, 3)
    assert raised.value.field == "model"
    assert said in str(raised.value)
    assert "mlp" in raised.value.remedy


def test_resnet16_is_the_paper_s() -> None:
    model = build_model("resnet16", (3, 32, 32), 10)
    lower, upper = split(model, "layer2")

    def layers(part: nn.Module) -> int:
        kinds = [m for m in part.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        return sum(1 for m in kinds if not (isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)))

    assert (layers(lower), layers(upper)) == (9, 7)
    assert check_segments(split(model, "layer2"), torch.randn(2, 3, 32, 32), 10) == ((32, 16, 16), (10,))


def test_alexnet_s_client_holds_one_convolution_and_one_max_pool() -> None:
    lower, _ = split(build_model("alexnet", (1, 28, 28), 10), "pool1")
    assert [type(layer) for layer in lower.children()] == [nn.Conv2d, nn.ReLU, nn.MaxPool2d]


def test_weights_come_from_the_global_generator(name: str) -> None:
    def drawn(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return list(build_model(name, IMAGE, 3).parameters())

    assert all(map(torch.equal, drawn(1), drawn(1)))
    assert not all(map(torch.equal, drawn(1), drawn(2)))
