"""Made-up records of leakage, as ``sglr leak`` writes them."""

from __future__ import annotations

import json
from typing import Any

from sglr.runs.folder import Run


def estimate(value: float | None, unit: str = "1", half: float = 0.01, **changes: Any) -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - half, value + half)
    return {"value": value, "low": low, "high": high, "estimator": "made up", "unit": unit, "samples": 9} | changes


def picture(size: int = 4, shift: float = 0.0) -> list[list[float]]:
    return [[(row * size + column) / size**2 + shift for column in range(size)] for row in range(size)]


def attack(name: str = "probe", succeeds: int = 2, **changes: Any) -> dict[str, Any]:
    return {
        "attack": name,
        "options": {"samples": 64},
        "attacker": "server",
        "source": "Somebody, 2020",
        "measure": "accuracy",
        "more_leaks": True,
        "score": estimate(0.8, "share"),
        "baseline": estimate(0.1, "share"),
        "details": {"mean_rank": estimate(1.5)},
        "succeeds": succeeds,
        "clients": {"0": {}, "3": {}},
        "note": "Read it with care.",
        "pictures": {},
    } | changes


def leaking(mse: float = 0.02, **changes: Any) -> dict[str, Any]:
    """Return what ``leakage.json`` of a run holds whose two clients leak alike."""
    figures = {
        "reconstruction": {
            "mse": estimate(mse),
            "baseline_mse": estimate(0.1),
            "psnr": estimate(17.0, "dB", half=1),
            "ssim": estimate(0.7),
        },
        "distance_correlation": estimate(0.83),
        "mutual_information": estimate(5.25, "nats", high=None),
        "label_inference_accuracy": estimate(0.42, "share"),
        "label_inference_baseline": estimate(0.1, "share"),
    }
    return {
        "conditions": {"clients": [0, 3], "samples": None, "seed": 7, "steps": 100},
        "measured": list(figures),
        "leakage": figures,
        "clients": {"0": figures, "3": figures},
        "missing": {},
        "told": [],
        "pictures": {"client": 0, "originals": [picture()] * 10, "decoder": [picture(shift=0.3)] * 10},
        "maps": {"client": 0, "image": picture(), "maps": [picture(), picture(shift=1.0)]},
        "attacks": [attack()],
        "reading": ["Images can be recognised from what the clients send."],
    } | changes


def write_leakage(run: Run, record: dict[str, Any]) -> Run:
    (run.path / "leakage.json").write_text(json.dumps(record), encoding="utf-8")
    return run
