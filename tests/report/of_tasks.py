"""Made-up tests (``summary["test"]``) and records of epochs of other tasks than classification."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .conftest import record, summary

FINDINGS = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax", "Oedema")


def score(mean: float, spread: float = 0.021, pooled: bool = True) -> dict[str, float | None]:
    """Return a `Score`."""
    return {
        "mean": mean,
        "std_over_clients": spread,
        "low": mean - 1.7 * spread,
        "high": mean + 1.4 * spread,
        "pooled": mean + spread / 9 if pooled else None,
    }


def binary(clients: int = 6) -> dict[str, Any]:
    """Return what a test of the task binary tells."""
    across = [n / 60 for n in range(61)]
    scores = {name: score(mean) for name, mean in (("auroc", 0.912), ("average_precision", 0.845), ("recall", 0.81))}
    scores |= {"specificity": score(0.87), "brier": score(0.11), "calibration_error": score(0.043, pooled=False)}
    return {
        "headline": "auroc",
        "higher_is_better": True,
        "scores": scores,
        "per_client": {"auroc": [0.912 + 0.04 * math.sin(5 * n) for n in range(clients)]},
        "threshold": 0.37,
        "roc": {"false_positive_rate": across, "true_positive_rate": [one**0.16 for one in across]},
        "reliability": {
            "confidence": [None, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.94],
            "frequency": [None, 0.1, 0.19, 0.31, 0.47, 0.6, 0.69, 0.85, 0.89, 0.97],
            "count": [0, 400, 120, 60, 40, 38, 44, 60, 130, 310],
        },
    }


def regression(clients: int = 6) -> dict[str, Any]:
    """Return what a test of the task regression tells."""
    edges = [50.0 + 10 * n for n in range(31)]
    counts = [
        [round(90 * math.exp(-(((i - j + 0.6) / 2.1) ** 2) - ((i - 14) / 7) ** 2)) for j in range(30)]
        for i in range(30)
    ]
    scores = {"rmse": score(53.4, 2.9), "mae": score(43.21, 2.2), "r2": score(0.47, 0.05)}
    return {
        "headline": "rmse",
        "higher_is_better": False,
        "unit": "mg/dl",
        "scores": scores,
        "per_client": {"rmse": [53.4 + 5 * math.sin(5 * n) for n in range(clients)]},
        "residuals": {"edges": edges, "counts": counts, "unit": "mg/dl"},
    }


def multilabel(labels: int = len(FINDINGS)) -> dict[str, Any]:
    """Return what a test of the task multilabel tells."""
    rows = [
        {
            "name": FINDINGS[n] if n < len(FINDINGS) else f"finding {n}",
            "auroc": None if n == 6 else 0.62 + 0.3 * abs(math.sin(3 * n)),
            "average_precision": None if n == 6 else 0.2 + 0.3 * abs(math.sin(3 * n)),
            "support": 0 if n == 6 else 13 + 91 * n,
        }
        for n in range(labels)
    ]
    return {"headline": "auroc", "higher_is_better": True, "scores": {"auroc": score(0.79)}, "per_label": rows}


def segmentation() -> dict[str, Any]:
    """Return what a test of the task segmentation tells."""
    rows = [("background", 0.99, 0.995), ("liver", 0.87, 0.93), ("tumour", 0.512, 0.677), ("vessel", None, None)]
    known = [{"name": name, "iou": iou, "dice": dice} for name, iou, dice in rows]
    scores = {"dice": score(0.84), "mean_iou": score(0.79)}
    return {"headline": "dice", "higher_is_better": True, "scores": scores, "per_class": known}


def examples(number: int = 4, side: int = 48) -> dict[str, Any]:
    """Return the content of ``examples.json``: discs in noise, predicted a little beside where they are."""

    def disc(x: float, y: float, radius: float) -> list[list[int]]:
        return [
            [
                2
                if (i - x) ** 2 + (j - y) ** 2 < radius**2 / 5
                else 1
                if (i - x) ** 2 + (j - y) ** 2 < radius**2
                else 0
                for j in range(side)
            ]
            for i in range(side)
        ]

    found = []
    for n in range(number):
        truth, prediction = disc(16 + 4 * n, 20 + 3 * n, 12), disc(17 + 4 * n, 19 + 4 * n, 11)
        picture = [
            [0.3 * one + 0.2 + 0.2 * math.sin(12.9 * i + 78.2 * j) for j, one in enumerate(row)]
            for i, row in enumerate(truth)
        ]
        found.append({"picture": picture, "truth": truth, "prediction": prediction})
    return {"examples": found}


def task_summary(test: Mapping[str, Any], epochs: int = 5, name: str = "made up") -> dict[str, Any]:
    """Return the summary of a finished run of another task."""
    of_run = summary(0.875, epochs)
    best = {test["headline"]: test["scores"][test["headline"]]["mean"], "best_epoch": epochs}
    return {**of_run, "task": {"name": name}, "test": {"loss": 0.4567, "epoch": epochs, **test}, "validation": best}


def task_record(epoch: int, headline: str, value: float) -> dict[str, Any]:
    """Return the record of an epoch of another task, whose training has no score."""
    kept = {key: one for key, one in record(epoch, 0.5).items() if "accuracy" not in key}
    return {**kept, f"validation_{headline}": value, f"validation_{headline}_std_over_clients": value / 30}
