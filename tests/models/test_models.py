"""Every registered model can be built, run, cut anywhere and stacked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from sglr.core.errors import UsageError
from sglr.core.model import build_model
from sglr.core.registry import MODELS
from sglr.splitting import check_segments, cut_points, split

IMAGE = (3, 16, 16)
SHAPES = {"cnn1d": (3, 40), "transformer": (12,)}
"""What a model takes that takes no images."""
OUTPUTS: dict[str, Callable[[int], tuple[int, ...]]] = {"fcn": lambda k: (k, 16, 16), "transformer": lambda k: (12, k)}
"""What a model gives for K classes that gives values of pixels or positions."""


def make(name: str, classes: int) -> nn.Module:
    return build_model(name, SHAPES.get(name, IMAGE), classes)


def draw(name: str, *batch: int) -> Tensor:
    shape = (*batch, *SHAPES.get(name, IMAGE))
    return torch.randint(0, 3, shape) if name == "transformer" else torch.randn(shape)


@pytest.fixture(params=MODELS.names())
def name(request: pytest.FixtureRequest) -> str:
    torch.manual_seed(0)
    return str(request.param)


def test_gives_one_score_per_class_and_learns_by_back_propagation(name: str) -> None:
    model = make(name, 7)
    scores = model(draw(name, 4))
    scores.square().sum().backward()
    assert scores.shape == (4, *OUTPUTS.get(name, lambda k: (k,))(7))
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_is_the_same_cut_anywhere_as_in_one_piece(name: str) -> None:
    model = make(name, 5).eval()
    x = draw(name, 2)
    points = cut_points(model)
    assert MODELS.load(name).default_cut in points
    for at in points:
        lower, upper = split(model, at)
        assert torch.equal(upper(lower(x)), model(x)), at
        assert {*lower.state_dict(), *upper.state_dict()} == set(model.state_dict())


def test_segments_at_the_default_cut_can_be_stacked(name: str) -> None:
    clients = [split(make(name, 5), MODELS.load(name).default_cut) for _ in range(3)]
    lowers, uppers = [list(part) for part in zip(*clients, strict=True)]
    smashed = _assert_stackable(lowers, draw(name, 3, 2))
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
    check_segments(split(model, MODELS.load(small).default_cut), torch.randn(2, *shape), (4,))


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 32, 32), (3, 65, 40)])
def test_alexnet_adapts_to_the_image_size(shape: tuple[int, ...]) -> None:
    assert build_model("alexnet", shape, 4)(torch.randn(2, *shape)).shape == (2, 4)


def test_mlp_takes_tables() -> None:
    assert build_model("mlp", (13,), 3)(torch.randn(5, 13)).shape == (5, 3)


@pytest.mark.parametrize("images", ["resnet16", "alexnet", "cnn", "fcn"])
@pytest.mark.parametrize(("shape", "said"), [((13,), "[13]"), ((1, 7, 28), "[1, 7, 28]")])
def test_refuses_what_it_cannot_take(images: str, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        build_model(images, shape, 3)
    assert raised.value.field == "model"
    assert said in str(raised.value)
    assert "mlp" in raised.value.remedy


@pytest.mark.parametrize("shape", [(1, 8, 9), (3, 17, 11), (1, 9, 8, 11)])
def test_fcn_gives_classes_of_all_pixels_of_odd_images_and_of_volumes(shape: tuple[int, ...]) -> None:
    model = build_model("fcn", shape, 4)
    x = torch.randn(3, 2, *shape)
    assert model(x[0]).shape == (2, 4, *shape[1:])
    _assert_stackable([build_model("fcn", shape, 4) for _ in range(3)], x)


def test_cnn1d_takes_series_of_any_length() -> None:
    for length in (8, 13, 300):
        assert build_model("cnn1d", (12, length), 5)(torch.randn(2, 12, length)).shape == (2, 5)


def test_a_position_of_the_transformer_sees_none_behind_it() -> None:
    model = build_model("transformer", (9,), 5)
    tokens = torch.randint(0, 5, (2, 9))
    changed = tokens.clone()
    changed[:, 4:] = (changed[:, 4:] + 1) % 5
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.isclose(before[:, 4:], after[:, 4:]).all(2).any()


@pytest.mark.parametrize(("model", "shape"), [("cnn1d", (13,)), ("cnn1d", (2, 7)), ("transformer", (2, 7))])
def test_refuses_what_is_no_series_and_no_text(model: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=f"model = {model}: .*{shape[-1]}]; use .*mlp"):
        build_model(model, shape, 3)


def test_who_has_tokens_is_told_which_model_takes_them() -> None:
    with pytest.raises(UsageError, match=r"model = cnn: .*\[16\]; use .* for tokens .*transformer"):
        build_model("cnn", (16,), 3)
    with pytest.raises(UsageError, match=r"one input of shape \[16\] .*for tokens, use .*transformer"):
        check_segments(split(build_model("mlp", (16,), 3), "relu1"), torch.zeros(2, 16, dtype=torch.int64))


def test_resnet16_is_the_paper_s() -> None:
    model = build_model("resnet16", (3, 32, 32), 10)
    lower, upper = split(model, "layer2")

    def layers(part: nn.Module) -> int:
        kinds = [m for m in part.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        return sum(1 for m in kinds if not (isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)))

    assert (layers(lower), layers(upper)) == (9, 7)
    assert check_segments(split(model, "layer2"), torch.randn(2, 3, 32, 32), (10,)) == ((32, 16, 16), (10,))


def test_alexnet_s_client_holds_one_convolution_and_one_max_pool() -> None:
    lower, _ = split(build_model("alexnet", (1, 28, 28), 10), "pool1")
    assert [type(layer) for layer in lower.children()] == [nn.Conv2d, nn.ReLU, nn.MaxPool2d]


def test_weights_come_from_the_global_generator(name: str) -> None:
    def drawn(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return list(make(name, 3).parameters())

    assert all(map(torch.equal, drawn(1), drawn(1)))
    assert not all(map(torch.equal, drawn(1), drawn(2)))
