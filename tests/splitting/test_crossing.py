"""Several values cross a cut as one row a sample: law 6, what goes beside, and what can't be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.several_values import UNet
from torch import Tensor, nn
from torch.nn import functional as F

from sglr.core.errors import UsageError
from sglr.splitting import Split, crossing_of, cut_points, every_cut, split, split_in_three
from sglr.splitting.crossing import halves, joined
from sglr.splitting.fit import find_crossing, fitted
from sglr.splitting.packed import PackedSegment, UnpackedSegment


class Residual(nn.Module):
    """A stem and a block with a residual branch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second, self.head = (nn.Linear(6, 6) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x + self.second(F.relu(self.first(x))))


class Branches(nn.Module):
    """Two branches that take the input."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.left2, self.right, self.head = (nn.Linear(6, 6) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        left = self.left2(F.relu(self.left(x)))
        return self.head(left * torch.sigmoid(self.right(x)))


class Lines(nn.Module):
    """Tokens with a mask that the layers behind the cut need."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.head = nn.Embedding(20, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        padding = x == 0
        h = self.mix(self.embed(x)).masked_fill(padding[:, :, None], 0.0)
        return self.head(h.sum(1) / (~padding).sum(1, keepdim=True).clamp(min=1))


@dataclass
class Encoded:
    """What an encoder returns."""

    states: Tensor
    mask: Tensor
    positions: Tensor
    batch: int
    name: str = "encoded"


class Encoder(nn.Module):
    """A raw lower segment that returns a dataclass: learned, a mask, constants, the size of a batch; and more."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(1000, 4)

    def forward(self, x: Tensor) -> Any:
        ids = x * 1_000_003 - 5
        return Encoded(self.embed(x), x > 0, torch.arange(x.shape[1])[None], len(x)), (ids, (x == 0).float() * -1e9)


class Decoder(nn.Module):
    """The raw upper segment."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, given: Any) -> tuple[Tensor, None]:
        encoded, (ids, bias) = given
        assert isinstance(encoded, Encoded)
        assert (encoded.mask.dtype, ids.dtype, bias.dtype) == (torch.bool, torch.int64, torch.float32)
        weight = torch.softmax(bias, 1) * encoded.mask + ids.sign() * 0.1 + encoded.positions
        return self.out((encoded.states * weight[..., None]).sum(1)).reshape(encoded.batch, -1), None


def output_of(model: nn.Module, x: Tensor) -> Tensor:
    found = model(x)
    return found["out"] if isinstance(found, dict) else found


SHAPES: dict[type[nn.Module], Tensor] = {
    UNet: torch.linspace(-1, 1, 192).reshape(3, 1, 8, 8),
    Residual: torch.linspace(-1, 1, 18).reshape(3, 6),
    Branches: torch.linspace(-1, 1, 18).reshape(3, 6),
    Lines: torch.tensor([[1, 2, 0], [3, 0, 0], [7, 19, 4]]),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_law_6_the_segments_give_the_models_output_bit_for_bit_wherever_it_is_cut(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model, x = kind().eval(), SHAPES[kind]
    places = every_cut(model)
    assert {*cut_points(model)} <= {place.layer for place in places}
    for place in places:
        lower, upper = split(model, place.layer, x)
        crossing = crossing_of(lower)
        assert (crossing is None) == (len(place.crossing) == 1), place
        assert torch.equal(upper(lower(x)), output_of(model, x)), place
        assert crossing is None or lower(x).shape[1:] == crossing.shape


def test_every_place_has_the_values_that_cross_there() -> None:
    crossing = {place.layer: place.crossing for place in every_cut(UNet())}
    assert crossing["down1"] == ("down1",)  # sizes are no tensors
    assert crossing["bottom"] == ("bottom", "down1", "down2")
    assert crossing["up2"] == ("up2", "down1")
    assert cut_points(UNet()) == ["down1.0", "down1.1", "down1", "up1", "head"]
    assert {place.layer: place.crossing for place in every_cut(Residual())}["first"] == ("first", "stem")
    # What takes the model's input is the client's.
    assert {place.layer: place.crossing for place in every_cut(Branches())}["left"] == ("left", "right")


@pytest.mark.parametrize(("cut", "tail"), [("down2", "bottom"), ("down2", "up2"), ("bottom", "up2"), ("bottom", "up1")])
def test_law_6_with_a_tail(cut: str, tail: str) -> None:
    torch.manual_seed(0)
    model, x = UNet().eval(), SHAPES[UNet]
    lower, upper, last = split_in_three(model, cut, tail, x)
    assert torch.equal(last(upper(lower(x))), output_of(model, x))


def test_one_tensor_is_not_wrapped() -> None:
    lower, upper = split(Residual(), "stem", SHAPES[Residual])
    assert not any(
        isinstance(module, (PackedSegment, UnpackedSegment)) for module in (*lower.modules(), *upper.modules())
    )


def test_one_tensor_and_sizes_keep_the_tensors_shape() -> None:
    lower, _ = split(UNet(), "down1", SHAPES[UNet])
    assert lower(SHAPES[UNet]).shape == (3, 4, 8, 8)
    assert crossing_of(lower) is None


def test_dataclasses_masks_numbers_and_constants_cross() -> None:
    torch.manual_seed(0)
    x = torch.tensor([[1, 2, 0, 999], [3, 0, 0, 1], [2, 2, 2, 2]])
    raw = Split(Encoder().eval(), Decoder().eval())
    lower, upper = fitted(raw, x)
    crossing = crossing_of(lower)
    assert crossing is not None
    assert [str(value) for value in crossing.learned] == ["[0]['states'] float32 [4, 4]"]
    names = ["[0]['mask'] bool [4]", "[1][0] int64 [4]", "[1][1] float32 [4]"]
    assert [str(value) for value in crossing.beside] == names
    rows = lower(x)
    assert rows.shape == (3, 16 + 2 * 12)
    assert torch.equal(upper(rows), raw.upper(raw.lower(x))[0])
    assert torch.equal(upper(rows[:1]), raw.upper(raw.lower(x[:1]))[0])


def test_no_gradient_reaches_what_is_beside() -> None:
    x = torch.tensor([[1, 2, 0, 999], [3, 0, 0, 1]])
    lower, upper = fitted(Split(Encoder(), Decoder()), x)
    rows = lower(x).detach().requires_grad_()
    upper(rows).sum().backward()
    assert rows.grad is not None
    assert rows.grad[:, :16].abs().sum() > 0
    assert not rows.grad[:, 16:].any()


@settings(deadline=None)
@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5))
def test_integers_of_32_bits_are_two_exact_halves(numbers: list[int]) -> None:
    whole = torch.tensor([numbers], dtype=torch.int32)
    upper, lower = halves(whole)
    assert upper.abs().max() <= 2**15
    assert 0 <= lower.min() <= lower.max() < 2**16
    assert torch.equal(joined(upper, lower), whole)


class Returns(nn.Module):
    """Returns what a function makes of a learned value and the input."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.layer, self.made = nn.Linear(6, 6), made

    def forward(self, x: Tensor) -> Any:
        return self.made(self.layer(x), x)


@pytest.mark.parametrize(
    ("made", "value", "told"),
    [
        (lambda h, x: (h, x), "[1]", "input itself"),
        (lambda h, x: (h, h.shape[0] * 5), "[1]", "depends on the batch"),
        (lambda h, x: (h, h.mean(0)), "[1]", "shape [6] for 2 inputs"),
        (lambda h, x: {"a": h, "all": (h > 0).sum()}, "['all']", "shape [] for 2 inputs"),
        (lambda h, x: (h, (x * 1e12).to(torch.int64)), "[1]", "32 bits"),
        (lambda h, x: (h, torch.fft.fft(h)), "[1]", "complex64"),
        (lambda h, x: ((h > 0), (h > 1)), "[0] bool [6], [1] bool [6]", "no gradient"),
    ],
)
def test_what_cannot_be_sent_is_named(made: Any, value: str, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        find_crossing(Returns(made), torch.linspace(-1, 1, 18).reshape(3, 6))
    assert (raised.value.field, raised.value.value) == ("cut", value)
    assert told in raised.value.problem
    assert raised.value.remedy


@pytest.mark.parametrize(
    "made",
    [
        lambda h, x: {"logits": h, "hidden": h * 2},
        lambda h, x: {"out": h, "aux": h * 2},
        lambda h, x: {"anything": h, "loss": None},
        lambda h, x: (h,),
        lambda h, x: Encoded(h, None, None, 3),  # type: ignore[arg-type]
    ],
)
def test_the_models_output_is_found_in_what_it_returns(made: Any) -> None:
    x = torch.linspace(-1, 1, 18).reshape(3, 6)
    whole = Returns(made).eval()
    lower, upper = fitted(Split(whole, nn.Identity()), x)
    assert torch.equal(upper(lower(x)), whole.layer(x))
    lower, upper = fitted(Split(nn.Linear(6, 6), whole), x)
    assert upper(lower(x)).shape == (3, 6)


def test_an_output_that_is_not_told_is_refused() -> None:
    x = torch.linspace(-1, 1, 18).reshape(3, 6)
    with pytest.raises(UsageError, match="2 tensors \\(a, b\\): which is its output"):
        fitted(Split(nn.Linear(6, 6), Returns(lambda h, x: {"a": h, "b": h})), x)
