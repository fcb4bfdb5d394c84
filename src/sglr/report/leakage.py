"""What leaks, as a run's report shows it: in words, in figures, in pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sglr.report import numbers
from sglr.report.charts import Records, add_legend, blank_chart, curve, draw_curves
from sglr.report.palette import LEAKING
from sglr.report.raster import png_address, value_range
from sglr.report.svg import inline_svg
from sglr.storage.json_files import read_object

LEAKAGE = "leakage.json"

MEASURES: Mapping[str, tuple[str, str]] = {
    "reconstruction.mse": ("Error of reconstructed images", "mean squared error; lower leaks more"),
    "reconstruction.cross_entropy": (
        "Cross-entropy of reconstructed images",
        "as in the paper's Table 5; lower leaks more",
    ),
    "reconstruction.psnr": ("PSNR of reconstructed images", "higher leaks more"),
    "reconstruction.ssim": ("SSIM of reconstructed images", "1 is identical; higher leaks more"),
    "distance_correlation": ("Distance correlation", "0 is independent, 1 the same geometry"),
    "mutual_information": ("Mutual information", "a lower bound; higher leaks more"),
    "label_inference_accuracy": ("Labels inferred from gradients", "one known sample per class"),
}
"""What a measure is called, and how it is read, in the order of the table."""

BASELINES = {
    "reconstruction.mse": "reconstruction.baseline_mse",
    "reconstruction.cross_entropy": "reconstruction.baseline_cross_entropy",
    "label_inference_accuracy": "label_inference_baseline",
}
"""The figure of an attacker that sees nothing, by measure."""

EPOCH_CURVES = {
    "leakage_distance_correlation": "distance correlation",
    "leakage_explained": "explained by a linear decoder",
    "leakage_label_inference_accuracy": "labels inferred",
}
"""Measures while training that lie between 0 and 1."""


def read_leakage(folder: Path) -> dict[str, Any]:
    """Return what a run's ``leakage.json`` holds; empty where there is none.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    return read_object(folder / LEAKAGE) or {}


def leakage_section(record: Mapping[str, Any], history: Records) -> dict[str, Any] | None:
    """Return the section ``What leaks`` for the template; None where nothing was measured."""
    chart = _epochs_chart(history)
    if not record and chart is None:
        return None
    return {
        "reading": record.get("reading", []),
        "measures": measure_rows(record.get("leakage", {})),
        "missing": [f"{name.replace('_', ' ')}: {why}" for name, why in record.get("missing", {}).items()],
        "conditions": conditions(record.get("conditions", {})),
        "pictures": picture_rows(record),
        "maps": map_rows(record.get("maps")),
        "attacks": [attack_row(attack) for attack in record.get("attacks", [])],
        "chart": chart,
    }


def flat(leakage: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return estimates by dotted names."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, value in leakage.items():
        if "value" in value:
            found[name] = value
        else:
            found |= {f"{name}.{member}": one for member, one in value.items()}
    return found


def measure_rows(leakage: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the table of measures."""
    estimates = flat(leakage)
    return [
        {
            "name": title,
            "meaning": meaning,
            "figure": figure(estimates[name]),
            "interval": interval(estimates[name]),
            "baseline": figure(estimates[BASELINES[name]]) if BASELINES.get(name) in estimates else "",
            "estimator": str(estimates[name]["estimator"]),
        }
        for name, (title, meaning) in MEASURES.items()
        if name in estimates
    ]


def figure(estimate: Mapping[str, Any]) -> str:
    """Write an estimate's value with its unit."""
    return _with_unit(estimate["value"], str(estimate["unit"]))


def interval(estimate: Mapping[str, Any]) -> str:
    """Write an estimate's interval; an open end is told."""
    low, high = estimate["low"], estimate["high"]
    if low is None and high is None:
        return ""
    if high is None:
        return f"{numbers.plain(low, 3)} or more"
    if low is None:
        return f"{numbers.plain(high, 3)} or less"
    scale = 100 if estimate["unit"] == "share" else 1
    return f"{numbers.plain(low * scale, 3)} to {numbers.plain(high * scale, 3)}"


def conditions(asked: Mapping[str, Any]) -> str:
    """Say which clients were measured, and how."""
    clients = asked.get("clients", [])
    if not clients:
        return ""
    names = ", ".join(map(str, clients))
    what = f"Measured at client {names}" if len(clients) == 1 else f"Means over clients {names}; 95 % intervals"
    return f"{what}; seed {asked.get('seed', 0)}."


def picture_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return originals and reconstructions, of the decoder and of attacks, as rows of pictures."""
    kept = dict(record.get("pictures", {}))
    client = kept.pop("client", None)
    rows = [picture_row(_titled(title), images) for title, images in kept.items()]
    for attack in record.get("attacks", []):
        shown = attack.get("pictures", {})
        same = bool(kept) and shown.get("originals") == kept.get("originals")
        for title, images in shown.items():
            if not (same and title == "originals"):
                rows.append(picture_row(f"{attack['attack']}: {title}", images))
    if rows and client is not None:
        rows[0]["client"] = client
    return rows


def map_rows(maps: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return an image and what a client sends of it, every channel scaled for itself."""
    if not maps:
        return []
    sent = [png_address(one, *_range([one])) for one in maps["maps"]]
    return [picture_row("image", [maps["image"]]), {"label": f"client {maps['client']} sends", "images": sent}]


def picture_row(label: str, images: Sequence[Any]) -> dict[str, Any]:
    """Return images ``[n, height, width]`` as addresses, all on one scale."""
    low, high = _range(images)
    return {"label": label, "images": [png_address(one, low, high) for one in images]}


def _range(images: Sequence[Any]) -> tuple[float, float]:
    return value_range(images)


def _titled(title: str) -> str:
    return "a decoder sees" if title == "decoder" else title


def attack_row(attack: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of an attack in a table."""
    clients, succeeds = len(attack["clients"]), attack["succeeds"]
    everywhere = succeeds == clients
    verdict = "succeeds" if everywhere else "fails" if not succeeds else f"succeeds at {succeeds} of {clients}"
    options = ", ".join(f"{name}={value}" for name, value in attack["options"].items())
    return {
        **{key: attack[key] for key in ("attack", "attacker", "source", "measure", "note")},
        "options": options,
        "score": figure(attack["score"]),
        "interval": interval(attack["score"]),
        "baseline": figure(attack["baseline"]),
        "verdict": verdict,
        "mark": "fails" if everywhere else "holds" if not succeeds else "undecided",
        "details": [(name.replace("_", " "), figure(one)) for name, one in attack["details"].items()],
    }


def _epochs_chart(history: Records) -> str | None:
    curves = [curve(label, history, key) for key, label in EPOCH_CURVES.items()]
    if not any(one.values for one in curves):
        return None
    drawn, axes = blank_chart()
    draw_curves(axes, curves, LEAKING)
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.05)
    add_legend(axes, columns=2)
    return inline_svg(drawn, "leakage", "leakage over epochs")


def _with_unit(value: float | None, unit: str) -> str:
    if unit == "share":
        return numbers.percent(value)
    suffix = f" {unit}" if unit in ("nats", "dB") else ""
    return f"{numbers.plain(value, 3)}{suffix}"
