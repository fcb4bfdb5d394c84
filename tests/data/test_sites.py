"""Data that are not here: told by their shape and classes, divided into nothing, refused where nobody else has them."""

from __future__ import annotations

import pytest

from sglr.assembly.build import build
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.data.datasets.sites import Sites
from sglr.data.federate import federate
from sglr.data.load import load_dataset
from sglr.data.partitioners.iid import Iid
from sglr.runs.config import Experiment


def test_it_has_a_shape_and_classes_and_no_samples():
    dataset = load_dataset("sites", None, {"input_shape": "3,16,16", "classes": "healthy,ill"})
    assert dataset.input_shape == (3, 16, 16)
    assert dataset.classes == ("healthy", "ill")
    assert len(dataset.train) == len(dataset.test) == 0


@pytest.mark.parametrize("classes", [3, "3", ("3",), "0,1,2"])
def test_a_number_of_classes_names_them_by_their_numbers(classes):
    assert load_dataset("sites", None, {"input_shape": (4,), "classes": classes}).classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("shape", "classes", "told"),
    [
        ((), 2, "input_shape = none"),
        ((1, 0), 2, "input_shape = 1,0"),
        ((4,), (), "classes = none"),
        ((4,), 1, "classes = 1:"),
        ((4,), ("a", "a"), "classes = a,a"),
    ],
)
def test_what_is_not_told_or_makes_no_sense_is_refused(shape, classes, told):
    with pytest.raises(UsageError, match=told):
        Sites(shape, classes).load(None)


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"target_type": "float32"}, Targets(dtype="float32")),
        (
            {"target_type": "float32", "target_shape": (2,), "target_names": ("a", "b")},
            Targets(("a", "b"), (2,), "float32"),
        ),
        ({"classes": 2, "target_shape": (3,), "target_names": tuple("xyz")}, Targets(tuple("xyz"), (3,), "int64", 2)),
        (
            {"classes": ("no", "yes"), "target_shape": (8, 8), "target_type": "uint8"},
            Targets(("no", "yes"), (8, 8), "uint8", 2),
        ),
        ({"classes": 40, "target_shape": (16,)}, Targets((), (16,), "int64", 40)),
        ({"classes": 3, "target_type": "float32"}, "measurements have no classes"),
        ({"classes": 2, "target_shape": (0,)}, "a length is below 1"),
        ({"classes": 2, "target_shape": (3,), "target_names": ("x",)}, "give one name for each value"),
    ],
)
def test_targets_of_any_kind_are_stated(told, wanted):
    if isinstance(wanted, str):
        with pytest.raises(UsageError, match=wanted):
            Sites((4,), **told).load(None)
        return
    data = Sites((4,), **told).load(None)
    assert data.targets == wanted
    assert data.train.targets.shape == (0, *wanted.shape)


@pytest.mark.parametrize(("validation", "validated"), [(None, True), (0.2, True), (0, False), (5, True)])
def test_it_is_divided_into_clients_without_samples(validation, validated):
    data = federate(Sites((4,), 2).load(None), Iid(), 5, 0, validation, samples_per_client=7, test_samples=3)
    assert data.sizes == (0,) * 5
    assert (data.validation is not None) == validated
    assert data.validation is None or data.validation.inputs.shape == (0, 4)
    assert data.test.inputs.shape == (0, 4)
    assert data.test is not data.validation, "an engine tells them apart"


def test_training_here_on_data_that_are_elsewhere_is_refused():
    experiment = Experiment.from_flat({"dataset": "sites", "input_shape": [1, 8, 8], "classes": 10})
    with pytest.raises(UsageError, match=r"dataset = sites: these data are at the sites.*sglr serve"):
        build(experiment)


def test_settings_of_a_file_and_of_flags_are_alike():
    file = Experiment.from_flat({"dataset": "sites", "input_shape": [1, 8, 8], "classes": ["a", "b"]})
    flags = Experiment.from_flat({"dataset": "sites", "input_shape": ("1", "8", "8"), "classes": ("a", "b")})
    assert file == flags == Experiment.from_flat(file.flat())
