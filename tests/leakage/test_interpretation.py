"""Each sentence about figures is said where its condition holds, and not where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from sglr.leakage.interpretation import read_attack, read_figures
from sglr.privacy.measures.estimate import Estimate


def figure(value: float, low: float | None = None, high: float | None = None, unit: str = "1") -> Estimate:
    return Estimate(value, low, high, "made up", unit, 100)


def told(**figures: Estimate) -> str:
    (sentence,) = read_figures({4: {name.replace("__", "."): one for name, one in figures.items()}})
    return sentence


@pytest.mark.parametrize(
    ("error", "high", "verdict"),
    [
        (0.02, 0.03, "Images can be recognised from what client 4 sends"),
        (0.05, 0.06, "Outlines of images can be made out"),
        (0.08, 0.09, "Little of images can be made out"),
        (0.08, 0.11, "This decoder recovers nothing from"),
        (0.20, 0.21, "This decoder recovers nothing from"),
    ],
)
def test_pictures_are_judged_by_the_error_of_the_mean_image(error: float, high: float, verdict: str) -> None:
    sentence = told(reconstruction__mse=figure(error, 0, high), reconstruction__baseline_mse=figure(0.1))
    assert sentence.startswith(verdict)
    assert f"MSE {error:.3g} against 0.1" in sentence


def labels(accuracy: Estimate, baseline: Estimate) -> dict[str, Estimate]:
    return {"label_inference_accuracy": accuracy, "label_inference_baseline": baseline}


NAMED = labels(figure(0.9, 0.85, 0.95, "share"), figure(0.1, 0.05, 0.15, "share"))
GUESSED = labels(figure(0.12, 0.08, 0.16, "share"), figure(0.1, 0.05, 0.15, "share"))


def test_labels_are_told_if_intervals_lie_apart() -> None:
    assert read_figures({0: NAMED}) == [
        "Cut-layer gradients reveal labels: 90% named right, 10% by the most frequent label."
    ]
    assert "reveal no labels to this attack" in read_figures({0: GUESSED})[0]
    assert "reveal labels of 1 of 2 clients" in read_figures({0: NAMED, 1: GUESSED})[0]


@pytest.mark.parametrize(
    ("value", "how"), [(0.95, "follow"), (0.7, "resemble"), (0.5, "somewhat resemble"), (0.1, "hardly resemble")]
)
def test_distances_are_told_in_four_degrees(value: float, how: str) -> None:
    assert f"what client 4 sends {how} those" in told(distance_correlation=figure(value))


def test_a_bound_without_an_upper_end_is_told_as_such() -> None:
    assert "tells 5.2 nats of the input or more" in told(mutual_information=figure(5.2, 5.0, None, "nats"))
    assert "tells at least 0.80 nats" in told(mutual_information=figure(1.0, 0.8, 1.3, "nats"))
    assert "tells at least 0.00 nats" in told(mutual_information=figure(0.0, -0.2, 0.1, "nats"))


def test_several_clients_are_spoken_of_together_and_what_was_not_measured_not_at_all() -> None:
    one = {"distance_correlation": figure(0.7)}
    assert "what the clients send resemble" in read_figures({0: one, 1: one})[0]
    assert read_figures({0: {}}) == []


def attacked(succeeds: int, score: float | None = 0.5) -> dict[str, Any]:
    return {
        "attack": "probe",
        "attacker": "server",
        "measure": "accuracy",
        "score": {"value": score},
        "baseline": {"value": 0.1},
        "clients": {"0": {}, "1": {}},
        "succeeds": succeeds,
    }


@pytest.mark.parametrize(
    ("succeeds", "verdict"),
    [(0, "does no better than guessing"), (1, "succeeds at 1 of 2 clients"), (2, "succeeds:")],
)
def test_an_attack_is_judged_by_how_many_clients_it_succeeds_at(succeeds: int, verdict: str) -> None:
    sentence = read_attack(attacked(succeeds))
    assert sentence.startswith(f"The attack probe by the server {verdict}")
    assert "accuracy 0.5 against 0.1 for an attacker that sees nothing" in sentence


def test_an_infinite_score_is_told_without_a_number() -> None:
    assert "accuracy no number against 0.1" in read_attack(attacked(0, None))
