"""Several inputs per sample: rows hold them exactly, and the parts of a model give what the whole one does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.several_inputs import Looped, PictureAndRow, Raw, arrays
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.splitting import every_cut, split
from sglr.splitting.input_layout import EXACT, InputField, InputLayout, read_layout
from sglr.splitting.several_inputs import PackInputs, taking_rows

SAMPLES = {name: torch.from_numpy(values[:6]) for name, values in arrays()[0].items()}
LAYOUT = read_layout("image:1,8,8+kinds:2:int64+age:")
TEXTS = read_layout("first:4:int64+second:3:int64")


def texts(rows: int = 5) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {name: torch.randint(0, 5, (rows, length), generator=rng) for name, length in (("first", 4), ("second", 3))}


def test_rows_hold_all_inputs_exactly() -> None:
    mixed = read_layout("a:2+b:3:int64+c:2,2:bool")
    values = {
        "a": torch.randn(4, 2),
        "b": torch.tensor([[0, -EXACT, EXACT]] * 4),
        "c": torch.rand(4, 2, 2) < 0.5,
    }
    rows = mixed.pack(values)
    assert (rows.dtype, rows.shape) == (torch.float32, (4, 9))
    for name, found in mixed.unpack(rows).items():
        assert torch.equal(found, values[name])
        assert found.dtype == values[name].dtype


def test_whole_numbers_alone_are_rows_of_whole_numbers() -> None:
    large = {"first": torch.full((2, 4), 2**40), "second": torch.zeros(2, 3, dtype=torch.int64)}
    assert torch.equal(TEXTS.unpack(TEXTS.pack(large))["first"], large["first"])


def test_whole_numbers_that_are_not_exact_beside_fractions_are_refused() -> None:
    values = {**SAMPLES, "kinds": SAMPLES["kinds"] + EXACT}
    with pytest.raises(UsageError, match=r"inputs\['kinds'\] = \d+: row \d has a whole number beyond 16777216"):
        LAYOUT.pack(values)


@pytest.mark.parametrize(
    "found",
    [None, "x", [{}], [{"name": "a", "shape": [0], "dtype": "float32"}], [{"name": "a", "shape": [], "dtype": 1}]],
)
def test_a_stranger_s_layout_is_refused(found: Any) -> None:
    if found is None:
        assert InputLayout.of({"inputs": None}) is None
        return
    with pytest.raises(UsageError):
        InputLayout.of({"inputs": found})


def test_a_layout_of_other_rows_is_refused() -> None:
    with pytest.raises(UsageError, match=r"rows have shape \[66\], and these inputs fill 67 numbers"):
        InputLayout.of({"inputs": LAYOUT.described()}, (66,))


def both(model: nn.Module, layout: InputLayout, samples: dict[str, Tensor]) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a model that takes rows, the rows, and what the model gave for the samples before."""
    model.eval()
    whole = layout.named and isinstance(model, Raw)
    wanted = model(samples) if whole else model(**samples)
    rows = layout.pack(samples)
    return taking_rows(model, layout), rows, wanted.detach()


MODELS: dict[str, Callable[[], tuple[nn.Module, InputLayout, dict[str, Tensor]]]] = {
    "by name": lambda: (PictureAndRow(LAYOUT.shapes, 3), LAYOUT, SAMPLES),
    "in a dict": lambda: (Raw(), LAYOUT, SAMPLES),
    "untraceable": lambda: (Looped(), TEXTS, texts()),
}


@pytest.mark.parametrize("name", MODELS)
def test_law_8_at_every_cut_the_parts_give_the_model_s_output(name: str) -> None:
    model, rows, wanted = both(*MODELS[name]())
    assert torch.equal(model(rows), wanted)
    places = every_cut(model, rows)
    assert len(places) >= 3
    for place in places:
        lower, upper = split(model, place.layer, rows)
        assert torch.equal(upper(lower(rows)), wanted), place


def test_layers_that_take_other_inputs_are_the_client_s() -> None:
    model, rows, _ = both(*MODELS["by name"]())
    lower, upper = split(model, "look", rows)
    assert {name.split(".")[-2] for name in lower.state_dict()} == {"look", "embed", "years"}
    assert lower(rows).shape == (6, 4 * 4 * 4 + 2 * 3 + 3)
    assert {name.split(".")[-2] for name in upper.state_dict()} == {"join", "head"}


def test_inputs_without_names_are_passed_in_their_order() -> None:
    layout = InputLayout(tuple(InputField(str(at), (3,), "float32") for at in range(2)))
    model = taking_rows(nn.Bilinear(3, 3, 2), layout)
    first, second = torch.randn(2, 4, 3)
    assert torch.equal(model(layout.pack({"0": first, "1": second})), nn.Bilinear.forward(model, first, second))  # type: ignore[arg-type]
    assert torch.equal(PackInputs(layout)((first, second)), torch.cat([first, second], 1))


class Total(nn.Module):
    """The sum of the inputs of a dict."""

    def forward(self, sample: dict[str, Tensor]) -> Tensor:
        return torch.cat([each.flatten(1) for each in sample.values()], 1)


def test_a_sequence_whose_first_child_takes_a_dict_is_cut_by_number() -> None:
    layout = read_layout("a:2+b:3")
    model = taking_rows(nn.Sequential(Total(), nn.Linear(5, 4), nn.Linear(4, 2)).eval(), layout)
    rows = torch.randn(3, 5)
    lower, upper = split(model, 2, rows)
    assert torch.equal(upper(lower(rows)), model(rows))
    assert lower(rows).shape == (3, 4)


UNFIT: dict[str, tuple[nn.Module, str, str]] = {
    "another name": (PictureAndRow(LAYOUT.shapes, 3), "image:1,8,8+kinds:2:int64+year:", "forward takes .image, kinds"),
    "one too few": (PictureAndRow(LAYOUT.shapes, 3), "image:1,8,8+kinds:2:int64", "each sample has image, kinds"),
    "one too many": (nn.Bilinear(3, 3, 2), "input1:3+input2:3+input3:3", "forward takes .input1, input2"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_model_that_takes_other_inputs_is_refused_with_the_names(case: str) -> None:
    model, inputs, message = UNFIT[case]
    with pytest.raises(UsageError, match=message) as raised:
        taking_rows(model, read_layout(inputs))
    assert raised.value.field == "model"


def test_a_model_of_several_inputs_is_refused_for_samples_of_one() -> None:
    with pytest.raises(UsageError, match="its forward takes input1, input2, and each sample has one input"):
        taking_rows(nn.Bilinear(3, 3, 2), None)


@pytest.mark.filterwarnings("ignore")  # of torch about its tracer
def test_a_module_whose_signature_is_not_known_takes_one_input_as_before() -> None:
    traced = torch.jit.trace(nn.Linear(3, 2), torch.randn(2, 3))
    assert taking_rows(traced, None) is traced


@pytest.mark.parametrize("text", ["a", "image:1,x", "a:3+a:4", ":3", "a:3:float16"])
def test_a_list_of_inputs_that_is_malformed_is_refused(text: str) -> None:
    if text == "a":
        assert read_layout(text).fields == (InputField("a", (), "float32"),)
        return
    with pytest.raises(UsageError, match=r"inputs = |input_layout = "):
        read_layout(text)
