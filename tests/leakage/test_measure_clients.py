"""Measures of a client: which samples, what stands in a measure's way, and means over clients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import sglr
from sglr.core.errors import UsageError
from sglr.leakage.measure_clients import Wanted, measure_client, measured_samples, nested, over_clients
from sglr.leakage.open_run import open_run
from sglr.privacy.measures.estimate import Estimate
from sglr.privacy.target import Target

CHEAP = ("distance_correlation", "label_inference_accuracy")


@pytest.fixture(scope="module")
def target(once: Callable[[str, Callable[[Path], object]], Path]) -> Target:
    settings = {"clients": 3, "samples_per_client": 60, "epochs": 2, "stacking": "stacked", "threads": 1}
    path = once("measured", lambda path: sglr.train("psl", model="cnn", out=path, **settings))
    return open_run(sglr.Run.open(path)).target(1)


def estimate(value: float, low: float | None, high: float | None, unit: str = "share") -> Estimate:
    return Estimate(value, low, high, "made up", unit, 50)


def test_own_samples_come_first_and_then_some_that_nobody_trained_with(target: Target) -> None:
    drawn = measured_samples(target, 100)
    own, rest = drawn.inputs[:60].flatten(1), drawn.inputs[60:].flatten(1)
    assert sorted(own.tolist()) == sorted(target.own.inputs.flatten(1).tolist())
    unseen = target.unseen.inputs.flatten(1).tolist()
    assert all(row in unseen for row in rest.tolist())
    assert len(measured_samples(target, 20)) == 20
    assert len(measured_samples(target, 10**6)) == len(target.own) + len(target.unseen)


def test_the_seed_decides_what_is_drawn(target: Target) -> None:
    first, again = (measured_samples(target, 30).inputs for _ in range(2))
    other = measured_samples(dataclasses.replace(target, seed=1), 30).inputs
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_is_measured_that_is_not_wanted(target: Target) -> None:
    found = measure_client(target, Wanted(CHEAP))
    assert set(found.figures) == {*CHEAP, "label_inference_baseline"}
    assert found.missing == {} and found.pictures == {}


def test_a_measure_that_can_not_be_had_is_told_or_stops_it(target: Target) -> None:
    wanted = ("mutual_information", "distance_correlation")
    found = measure_client(target, Wanted(wanted, samples=100))
    assert set(found.figures) == {"distance_correlation"}
    assert "256 samples" in found.missing["mutual_information"]
    with pytest.raises(UsageError, match="256 samples"):
        measure_client(target, Wanted(wanted, samples=100, strict=True))


def test_what_a_client_sends_that_tells_nothing_measures_as_nothing(target: Target) -> None:
    generator = torch.Generator().manual_seed(0)
    blind = dataclasses.replace(target, send=lambda inputs: torch.randn(len(inputs), 5, generator=generator))
    wanted = ("distance_correlation", "mutual_information")
    figures, seen = measure_client(blind, Wanted(wanted)).figures, measure_client(target, Wanted(wanted)).figures
    for name in wanted:
        assert figures[name].low is not None and figures[name].low <= 0
        assert figures[name].value < seen[name].value / 3


@pytest.mark.slow
def test_images_are_reconstructed_better_than_by_their_mean_and_shown(target: Target) -> None:
    found = measure_client(target, Wanted(("reconstruction",)))
    error, baseline = found.figures["reconstruction.mse"], found.figures["reconstruction.baseline_mse"]
    assert error.value < baseline.value / 2
    assert found.pictures["originals"].shape == found.pictures["decoder"].shape == (10, 1, 8, 8)
    assert found.figures["reconstruction.ssim"].value > 0.5


def test_means_over_clients_have_students_interval_and_shares_stay_shares() -> None:
    each = [{"a": estimate(0.9, 0.8, 1.0)}, {"a": estimate(0.99, 0.9, 1.0)}]
    mean = over_clients(each)["a"]
    assert mean.value == pytest.approx(0.945)
    assert mean.low is not None and mean.low < 0.945  # t = 12.7 with one degree of freedom: it would reach beyond 1
    assert mean.high == 1.0
    assert mean.samples == 100


def test_a_mean_has_no_upper_end_where_one_client_has_none() -> None:
    ends = (2.0, None)
    mean = over_clients([{"a": estimate(1.0, 0.5, high, "nats")} for high in ends])["a"]
    assert mean.high is None


def test_one_client_speaks_for_itself_and_what_some_lack_has_no_mean() -> None:
    alone = {"a": estimate(0.5, 0.4, 0.6)}
    assert over_clients([alone]) == alone
    assert over_clients([alone, {"b": alone["a"]}]) == {}


def test_groups_are_nested_for_json() -> None:
    one = estimate(0.5, 0.4, 0.6)
    assert nested({"a.b": one, "a.c": one, "d": one}) == {
        "a": {"b": one.record(), "c": one.record()},
        "d": one.record(),
    }


@pytest.mark.parametrize(
    ("measures", "samples", "told"), [(("reconstructoin",), None, "reconstruction"), (CHEAP, 0, "256 or more")]
)
def test_what_makes_no_sense_is_refused(measures: tuple[str, ...], samples: int | None, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Wanted(measures, samples)
