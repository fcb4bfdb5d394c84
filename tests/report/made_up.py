"""Records of a reproduction with made-up figures: a wide table, one in another unit, charts, pictures, claims."""

from __future__ import annotations

import math
from typing import Any

PAPER = {
    "1": (82.45, 82.45, 82.45, 82.45),
    "4": (82.68, 82.14, 83.42, 82.46),
    "8": (83.49, 58.41, 83.87, 84.23),
    "20": (84.88, None, None, 86.25),
}
VERSIONS = {"sglr": "0.1.0", "torch": "2.13.0", "platform": "Linux-6.1-x86_64", "processor": "made up, 2 cores"}


def cell(paper: float | None, ours: float | None, spread: float | None = None, note: str = "") -> dict[str, Any]:
    known = paper is not None and ours is not None
    apart = ours - paper if known else None  # type: ignore[operator]
    runs = 0 if ours is None else 2
    return {"paper": paper, "ours": ours, "spread": spread, "difference": apart, "runs": runs, "note": note}


def accuracies() -> dict[str, Any]:
    rows = [
        [cell(paper, None if paper is None else paper + 3 * math.sin(7 * row + column), 0.4) for column, paper in line]
        for row, line in enumerate(enumerate(values) for values in PAPER.values())
    ]
    rows[2][1] = cell(58.41, None, None, "diverged at step 30 (seed 1)")
    return {
        "caption": "Top-1 accuracy on the test data",
        "unit": "%",
        "row_title": "|C|",
        "rows": list(PAPER),
        "columns": ["α = 0", "α = 2", "α = 1.5", "α = 0.5"],
        "cells": rows,
    }


def wide() -> dict[str, Any]:
    columns = [f"α = {alpha}, φ = {phi}" for alpha in (0, 0.5, 1) for phi in ("off", 0.25, 0.5, 0.75)]
    cells = [
        [cell(82.04 + row + column / 9, 82.04 + row + 5 * math.sin(row + column), 0.21) for column in range(12)]
        for row in range(4)
    ]
    table = {"caption": "SplitLr and SplitAvg", "unit": "%", "row_title": "|C|", "rows": [1, 2, 4, 20]}
    return {**table, "columns": columns, "cells": cells}


def computation() -> dict[str, Any]:
    return {
        "caption": "Computation per client",
        "unit": "PFLOPs",
        "row_title": "",
        "rows": ["add-multiplies × 2, backward = 2 × forward"],
        "columns": ["CL", "FL", "SGLR"],
        "cells": [[cell(2.944, 2.9441), cell(0.588, 0.6), cell(0.031, 0.0405)]],
    }


def chart(title: str = "Accuracy over epochs", *, log: bool = False, curves: int = 3) -> dict[str, Any]:
    epochs = list(range(1, 31))
    series = [
        {
            "label": f"α = {number / 2:g}",
            "x": [10**epoch for epoch in (1, 2, 3)] if log else epochs,
            "y": [0.5 * 40 ** (epoch + number / 9) for epoch in (1, 2, 3)]
            if log
            else [80 + number - 50 * 0.8**epoch for epoch in epochs],
            "spread": None if log else [1 + 5 * 0.8**epoch for epoch in epochs],
        }
        for number in range(curves)
    ]
    titles = {"x_title": "clients" if log else "epoch", "y_title": "seconds per epoch" if log else "accuracy, %"}
    return {"title": title, **titles, "log_x": log, "log_y": log, "series": series}


def pictures() -> dict[str, Any]:
    def image(phase: float) -> list[list[float]]:
        return [[math.sin(phase + row / 3) * math.cos(column / 4) for column in range(16)] for row in range(16)]

    rows = [
        {"label": f"φ = {number / 4:g}", "images": [image(number + other) for other in range(12)]} for number in (0, 2)
    ]
    return {"title": "Activations at the cut", "note": "One picture, every fourth channel.", "rows": rows}


def claim(verdict: str, text: str = "accuracy grows with the number of clients") -> dict[str, str]:
    test = "the rank correlation of clients and accuracy is above 0.5 in every column"
    return {"claim": text, "verdict": verdict, "test": test, "evidence": "0.93, 0.88, 0.41"}


def artefact(name: str = "table1", **changes: Any) -> dict[str, Any]:
    """Return the record of one artefact of the paper."""
    runs = [
        {"label": f"α = 0.5, {clients} clients", "seed": seed, "path": f"cells/{clients}-{seed}", "accuracy": 0.81}
        for clients in (1, 4, 8)
        for seed in (0, 1)
    ]
    record = {
        "name": name,
        "title": f"{name.capitalize()}: SplitLr alone",
        "scale": "small",
        "seeds": [0, 1],
        "setting": "The small CNN instead of ResNet16, 12 epochs instead of 200, 500 samples of each client.",
        "tables": [accuracies()],
        "charts": [chart()],
        "pictures": [],
        "claims": [claim("holds"), claim("fails", "α = 2 diverges from 8 clients on"), claim("undecided")],
        "notes": ["The paper leaves out where it diverged."],
        "seconds": 1234.5,
        "runs": runs,
        "versions": VERSIONS,
    }
    return record | changes


def sweep_row(accuracy: float | None, spread: float | None = None, name: str = "", **values: Any) -> dict[str, Any]:
    """Return a row of a sweep's record."""
    label = name or ", ".join(str(value) if key == "method" else f"{key}={value}" for key, value in values.items())
    return {
        "label": label,
        "name": name,
        "method": "psl",
        "values": values,
        "seeds": [0],
        "runs": [],
        "accuracies": [accuracy],
        "diverged": [] if accuracy is not None else ["seed 0: the loss is no number"],
        "test": {"accuracy": accuracy, "accuracy_sd": spread, "accuracy_std_over_clients": 0.01},
        "communication": {"up_bytes": 1e6, "down_bytes": 2e6},
        "seconds": 3.0,
    }
