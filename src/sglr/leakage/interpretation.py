"""What figures of leakage mean, in sentences for people who know no estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sglr.leakage.measure_clients import over_clients
from sglr.privacy.measures.estimate import Estimate

RECOGNISED, BLURRED = 0.35, 0.75
"""Parts of the mean image's error below which pictures can be recognised, and below which their outlines can.

A rule of thumb, not calibrated; the guide says so.
"""


def read_figures(clients: Mapping[int, Mapping[str, Estimate]]) -> list[str]:
    """Say in sentences what measures tell.

    Parameters
    ----------
    clients
        Estimates by name, as `sglr.leakage.measure_clients` names them, of every client.
    """
    each = list(clients.values())
    figures = over_clients(each)
    who = f"client {next(iter(clients))} sends" if len(each) == 1 else "the clients send"
    told = []
    if "reconstruction.mse" in figures:
        told.append(_pictures(figures["reconstruction.mse"], figures["reconstruction.baseline_mse"], who))
    if "label_inference_accuracy" in figures:
        told.append(_labels(figures, sum(_names_labels(one) for one in each), len(each)))
    if "distance_correlation" in figures:
        told.append(_distance(figures["distance_correlation"], who))
    if "mutual_information" in figures:
        told.append(_information(figures["mutual_information"], who))
    return told


def read_attack(record: Mapping[str, Any]) -> str:
    """Say in a sentence how an attack ended, from its record."""
    score, baseline = record["score"]["value"], record["baseline"]["value"]
    attacked = len(record["clients"])
    if record["succeeds"] == 0:
        verdict = "does no better than guessing"
    elif record["succeeds"] == attacked:
        verdict = "succeeds"
    else:
        verdict = f"succeeds at {record['succeeds']} of {attacked} clients"
    figures = f"{record['measure']} {_figure(score)} against {_figure(baseline)} for an attacker that sees nothing"
    return f"The attack {record['attack']} by the {record['attacker']} {verdict}: {figures}."


def _pictures(error: Estimate, baseline: Estimate, who: str) -> str:
    share = error.value / baseline.value if baseline.value else 1.0
    if share < RECOGNISED:
        verdict = f"Images can be recognised from what {who}"
    elif share < BLURRED:
        verdict = f"Outlines of images can be made out from what {who}"
    elif error.high is not None and error.high < baseline.value:
        verdict = f"Little of images can be made out from what {who}"
    else:
        verdict = f"This decoder recovers nothing from what {who}"
    return f"{verdict}: MSE {error.value:.3g} against {baseline.value:.3g} for guessing the mean image."


def _names_labels(figures: Mapping[str, Estimate]) -> bool:
    accuracy, baseline = figures["label_inference_accuracy"], figures["label_inference_baseline"]
    return (accuracy.low or 0.0) > (baseline.value if baseline.high is None else baseline.high)


def _labels(figures: Mapping[str, Estimate], named: int, clients: int) -> str:
    accuracy, baseline = figures["label_inference_accuracy"], figures["label_inference_baseline"]
    verdict = "reveal labels" if named == clients else f"reveal labels of {named} of {clients} clients"
    if not named:
        verdict = "reveal no labels to this attack"
    guess = f"{baseline.value:.0%} by the most frequent label"
    return f"Cut-layer gradients {verdict}: {accuracy.value:.0%} named right, {guess}."


def _distance(correlation: Estimate, who: str) -> str:
    value = correlation.value
    how = "follow" if value > 0.9 else "resemble" if value > 0.6 else "somewhat resemble"
    if value <= 0.3:
        how = "hardly resemble"
    return (
        f"Distances between samples of what {who} {how} those between inputs: distance correlation {value:.2f} "
        "(0: independent, 1: the same geometry)."
    )


def _information(bound: Estimate, who: str) -> str:
    if bound.high is None:
        return (
            f"What {who} tells {bound.value:.1f} nats of the input or more, about as much as this many samples "
            "can show: it tells inputs apart."
        )
    return f"What {who} tells at least {max(bound.low or 0.0, 0.0):.2f} nats of the input."


def _figure(value: float | None) -> str:
    return "no number" if value is None else f"{value:.3g}"
