"""Samples keep inputs, targets and columns together; what can't be learnt from is refused, with the row named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.data import ClientData, Dataset, Samples
from sglr.core.errors import UsageError
from sglr.core.task import Targets

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
    assert ClientData(make_samples(5), rows, None, make_samples(2), Targets.of_classes(("a",))).sizes == (2, 1, 0)


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
    samples = Dataset("toy", Samples(inputs, targets), GOOD, ("a", "b", "c")).train
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
        (INPUTS, [0, 1, float("nan"), 0, 1, 2], r"targets = nan: row 2 is missing or infinite; fill it in"),
        (INPUTS, [[0.0, 1.0]] * 5 + [[0.0, float("inf")]], r"targets = inf: row 5 is missing or infinite"),
        (INPUTS, TARGETS[:, None][:, :0], r"targets = shape \[6, 0\]: a sample needs a target"),
        (INPUTS, [[1], [2, 3]] * 3, r"targets = list: is not an array of numbers .*rows of equal length"),
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
        (GOOD, Samples(INPUTS, TARGETS + 0.5), r"test.targets = 0.5: row 0 is not a class number .*dtype='float32'"),
        (Samples(INPUTS, torch.eye(3)[TARGETS]), GOOD, r"train.targets = shape \[6, 3\]: .*targets.argmax\(1\)"),
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


FINDINGS = Targets(("effusion", "nodule"), (2,), "int64", 2)
MASKS = Targets(shape=(2, 3), dtype="uint8", classes=4)
TOKENS = Targets(shape=(2,), classes=50)
OUTCOMES = Targets(("days", "cost"), (2,), "float32")


@pytest.mark.parametrize(
    ("given", "targets", "kept"),
    [
        (FINDINGS, torch.eye(2)[TARGETS % 2], torch.int64),
        (FINDINGS, (torch.eye(2)[TARGETS % 2] > 0).numpy(), torch.int64),
        (MASKS, np.full((6, 2, 3), 3, dtype=np.uint8), torch.uint8),
        (MASKS, torch.tensor([0, 3, 255]).expand(6, 2, 3), torch.uint8),
        (replace(MASKS, dtype="int64"), torch.tensor([0, 3, -100]).expand(6, 2, 3), torch.int64),
        (TOKENS, [[0, 49]] * 5 + [[7, -100]], torch.int64),
        (OUTCOMES, TARGETS[:, None].expand(6, 2), torch.float32),
        (Targets(dtype="float32"), TARGETS[:, None].numpy(), torch.float32),
    ],
)
def test_targets_of_any_kind_keep_their_shape_and_their_type_in_every_part(
    given: Targets, targets: Any, kept: Any
) -> None:
    dataset = Dataset("toy", Samples(INPUTS, targets), Samples(INPUTS[:1], targets[:1]), targets=given)
    data = ClientData(dataset.train, (torch.arange(6),), None, dataset.test, dataset.targets)
    assert (dataset.targets, dataset.classes, data.classes) == (given, (), ())
    for part in (dataset.train, dataset.test, dataset.train.select(torch.tensor([1]))):
        assert part.targets.dtype == kept
        assert part.targets.shape[1:] == given.shape
    assert dataset.train.targets.tolist() == torch.as_tensor(targets).reshape(6, *given.shape).tolist()


def test_what_targets_are_follows_from_the_classes_or_from_fractions_alone() -> None:
    assert Dataset("toy", GOOD, GOOD, ("a", "b", "c")).targets == Targets.of_classes(("a", "b", "c"))
    measured = Dataset("toy", Samples(INPUTS, TARGETS + 0.5), GOOD)
    assert measured.targets == Targets(dtype="float32")
    assert measured.test.targets.tolist() == TARGETS.tolist()
    assert measured.test.targets.dtype == torch.float32
    assert Dataset("toy", GOOD, GOOD, targets=Targets(classes=3)).classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("targets", "given", "message"),
    [
        (TARGETS, {}, r"classes = none: whole numbers may be classes or measurements; give the names"),
        (TARGETS, {"targets": OUTCOMES}, r"train.targets = shape \[6\]: .*give \[N, 2\]"),
        (torch.zeros(6, 2, 4), {"targets": MASKS}, r"train.targets = shape \[6, 2, 4\]: .*give \[N, 2, 3\]"),
        (torch.eye(2)[TARGETS % 2] / 2, {"targets": FINDINGS}, r"train.targets = 0.5: row 0 is not a class number"),
        (torch.eye(2)[TARGETS % 2] - 1, {"targets": FINDINGS}, r"train.targets = -1: row 0 is not a class number"),
        (torch.full((6, 2, 3), 4), {"targets": MASKS}, r"train.targets = 4: row 0 is outside the 4 classes .*5 other"),
        (TARGETS, {"targets": Targets(classes=3), "classes": ("a", "b", "c")}, r"classes = a,b,c: .* says otherwise"),
        (TARGETS, {"targets": Targets(("a", "b"), classes=3)}, r"targets.names = 2 names: there are 3 classes"),
        (TARGETS, {"targets": Targets(classes=3, dtype="float32")}, r"targets.classes = 3: only measurements"),
    ],
)
def test_targets_that_contradict_what_the_data_set_says_are_refused(
    targets: Any, given: dict[str, Any], message: str
) -> None:
    samples = Samples(INPUTS, targets)
    with pytest.raises(UsageError, match=message):
        Dataset("toy", samples, samples, **given)
