"""Samples keep inputs, targets and columns together; what can't be learnt from is refused, with the row named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.data import ClientData, Dataset, Samples
from sglr.core.errors import UsageError

INPUTS = torch.arange(24.0).reshape(6, 4)
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2])
GOOD = Samples(INPUTS, TARGETS)


def spoiled(row: int, value: float) -> torch.Tensor:
    inputs = INPUTS.clone()
    inputs[row, 1] = value
    return inputs


def make_samples(number: int) -> Samples:
    columns = {"hospital": np.array([f"h{i}" for i in range(number)], dtype=object)}
    return Samples(torch.arange(number * 6.0).reshape(number, 2, 3), torch.arange(number), columns)


def test_selecting_takes_the_same_rows_of_everything() -> None:
    chosen = make_samples(5).select(torch.tensor([3, 0, 3]))
    assert len(chosen) == 3
    assert chosen.targets.tolist() == [3, 0, 3]
    assert chosen.inputs[:, 0, 0].tolist() == [18.0, 0.0, 18.0]
    assert chosen.columns["hospital"].tolist() == ["h3", "h0", "h3"]


def test_an_input_shape_is_without_the_sample_dimension() -> None:
    assert Dataset("toy", make_samples(5), make_samples(2), tuple("abcde")).input_shape == (2, 3)


def test_sizes_are_those_of_each_clients_share() -> None:
    rows = (torch.tensor([0, 4]), torch.tensor([2]), torch.tensor([], dtype=torch.int64))
    assert ClientData(make_samples(5), rows, None, make_samples(2), ("a",)).sizes == (2, 1, 0)


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (INPUTS.numpy(), TARGETS.numpy()),
        (INPUTS.double(), TARGETS.to(torch.int32)),
        (INPUTS.numpy().astype(">f8"), TARGETS.numpy().astype("uint16")),
        (INPUTS.tolist(), TARGETS.tolist()),
        (INPUTS.clone().requires_grad_(), TARGETS[:, None]),
        (INPUTS.half(), TARGETS.float()),
        (np.asfortranarray(INPUTS.numpy())[::-1][::-1], TARGETS.double().numpy()[:, None]),
    ],
)
def test_what_can_be_converted_without_loss_is(inputs: Any, targets: Any) -> None:
    samples = Samples(inputs, targets)
    assert samples.inputs.dtype == torch.float32
    assert samples.targets.dtype == torch.int64
    assert not samples.inputs.requires_grad
    assert torch.equal(samples.inputs, INPUTS)
    assert torch.equal(samples.targets, TARGETS)


def test_whole_numbers_stay_whole_and_truths_become_0_and_1() -> None:
    tokens = Samples(np.array([[1, 2], [3, 4]], dtype=np.int32), [True, False])
    assert tokens.inputs.dtype == torch.int64
    assert tokens.targets.tolist() == [1, 0]
    assert Samples(np.array([[True], [False]]), [0, 1]).inputs.tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (INPUTS, TARGETS + 0.5, r"targets = 0.5: row 0 is not a class number .*classifiers"),
        (INPUTS, [0, 1, float("nan"), 0, 1, 2], r"targets = nan: row 2 is missing or infinite; fill it in"),
        (INPUTS, torch.eye(3)[TARGETS], r"targets = shape \[6, 3\]: .*targets.argmax\(1\)"),
        (INPUTS, TARGETS[:5], r"targets = 5 values: there are 6 inputs"),
        (INPUTS, list("abcabc"), r"targets = type <U1: labels are not numbers; .*dataset=\(X, y\)"),
        (INPUTS[:, 0], TARGETS, r"inputs = shape \[6\]: .*inputs\[:, None\]"),
        (INPUTS.byte(), TARGETS, r"inputs = uint8: bytes may be pixels or tokens; .*127.5"),
        (INPUTS.to(torch.complex64), TARGETS, r"inputs = torch.complex64: type is not supported"),
        (INPUTS[:, :0], TARGETS, r"inputs = shape \[6, 0\]: a sample has no values"),
        ([[1.0, 2.0], [3.0]], [0, 1], r"inputs = list: is not an array of numbers .*rows of equal length"),
        (np.array([["a", 1]], dtype=object), [0], r"inputs = type object: values are not numbers; convert them"),
        (None, TARGETS, r"inputs = NoneType: is not an array of numbers; give a tensor"),
        ((row for row in INPUTS), TARGETS, r"inputs = generator: is not an array of numbers"),
    ],
)
def test_samples_that_would_lose_something_are_refused(inputs: Any, targets: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Samples(inputs, targets)


def test_a_column_has_a_value_for_each_input() -> None:
    with pytest.raises(UsageError, match="site = 2 values: there are 6 inputs"):
        Samples(INPUTS, TARGETS, {"site": np.array(["a", "b"], dtype=object)})


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (Samples(INPUTS, TARGETS - 1), GOOD, r"train.targets = -1: row 0 .*\(as in 1 other row\(s\)\); remove"),
        (Samples(INPUTS, TARGETS + 1), GOOD, r"train.targets = 1 to 3: .*counted from 0; subtract 1"),
        (GOOD, Samples(INPUTS, TARGETS * 2), r"test.targets = 4: row 2 is outside the 3 classes 0 to 2"),
        (Samples(spoiled(3, float("nan")), TARGETS), GOOD, r"train.inputs = nan: row 3 is not finite; fill in"),
        (GOOD, Samples(spoiled(5, float("-inf")), TARGETS), r"test.inputs = -inf: row 5 is not finite"),
        (GOOD, Samples(INPUTS[:, :2], TARGETS), r"test.inputs = float32 \[2\]: those of train are float32 \[4\]"),
        (GOOD, Samples(INPUTS.long(), TARGETS), r"test.inputs = int64 \[4\]: those of train are float32 \[4\]"),
        (GOOD, Samples(INPUTS[:0], TARGETS[:0]), r"test = 0 samples: "),
        (Samples(INPUTS[:0], TARGETS[:0]), GOOD, r"train = 0 samples: "),
        (GOOD, (INPUTS, TARGETS), r"test = tuple: is not an sglr.Samples; give sglr.Samples\(inputs, targets\)"),
    ],
)
def test_a_data_set_whose_parts_do_not_fit_is_refused(train: Any, test: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Dataset("toy", train, test, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("classes", "message"), [(3, "is not a list"), ("abc", "is not a list"), (("a", "b", "a"), "names two classes")]
)
def test_classes_are_distinct_names(classes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=rf"classes = .*{message}"):
        Dataset("toy", GOOD, GOOD, classes)


@given(st.integers(1, 5), st.integers(0, 5), st.sampled_from([float("nan"), float("inf"), float("-inf")]))
def test_the_row_of_a_value_that_is_not_finite_is_named(width: int, row: int, value: float) -> None:
    inputs = torch.full((6, width, 2), 3e38)  # finite, though their sum is not
    Dataset("toy", Samples(inputs, TARGETS), GOOD_OF[width], ("a", "b", "c"))
    inputs[row, -1, 0] = value
    with pytest.raises(UsageError, match=rf"train.inputs = {value:g}: row {row} is not finite"):
        Dataset("toy", Samples(inputs, TARGETS), GOOD_OF[width], ("a", "b", "c"))


GOOD_OF = {width: Samples(torch.zeros(6, width, 2), TARGETS) for width in range(1, 6)}
