"""Run folders as training writes them, and a reader of pages that knows HTML."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sglr.runs.config import Experiment
from sglr.runs.folder import Run
from sglr.runs.new_folder import create_run

VOID = {"meta", "link", "br", "hr", "img", "input", "line", "path", "rect", "use", "image", "circle"}
INLINE = {"span", "code", "small", "a"}
Write = Callable[..., Run]


@dataclass
class Page(HTMLParser):
    """A parsed page: its visible text, its tags with attributes; complains about tags that do not close."""

    source: str
    text: str = ""
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    stack: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.source)
        self.close()
        assert self.stack == [], f"never closed: {self.stack}"
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += "" if tag in INLINE else " "
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack, f"</{tag}> closes nothing"
            assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.stack:
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def addresses(self) -> list[str]:
        """Everything that the page points to or would load."""
        names = ("src", "href", "xlink:href", "data", "action", "srcset", "poster")
        return [value for _, attributes in self.tags for name in names if (value := attributes.get(name))]


def record(epoch: int, accuracy: float, *, validated: bool = True) -> dict[str, Any]:
    values = {
        "epoch": epoch,
        "loss": 2.0 / epoch,
        "train_accuracy": accuracy + 0.02,
        "learning_rate": 1e-3,
        "steps": epoch * 10,
        "samples": epoch * 800,
        "seconds": epoch * 2.0,
        "up_bytes": epoch * 1_000_000,
        "down_bytes": epoch * 900_000,
    }
    scores = {
        "validation_accuracy": accuracy,
        "validation_accuracy_std_over_clients": 0.01,
        "validation_loss": 2.2 / epoch,
    }
    return values | (scores if validated else {})


def summary(top: float, epochs: int, *, validated: bool = True) -> dict[str, Any]:
    return {
        "status": "done",
        "method": {"name": "sglr", "alpha": 0.5, "phi": 0.75},
        "cut": "pool1",
        "engine": "local",
        "device": "cpu",
        "test": {
            "accuracy": top - 0.011,
            "accuracy_std_over_clients": 0.0123,
            "loss": 0.4567,
            "epoch": epochs,
            **by_class(["cat", "dog", "owl"]),
        },
        "validation": {"accuracy": top, "best_epoch": epochs} if validated else None,
        "communication": {
            "up_bytes": 12_345_678,
            "down_bytes": 7_000_000,
            "by_kind": {"up": {"smashed": 12_300_000, "labels": 45_678}, "down": {"average": 7_000_000}},
            "messages": {"up": {"smashed": 4000, "labels": 4000}, "down": {"average": 3000}},
            "views": {
                "paper": {
                    "total_bytes": 18.6e6,
                    "per_client_bytes": {"mean": 1.86e6, "max": 1.86e6},
                    "per_epoch_bytes": 18.6e6 / epochs,
                    "formula": "(2−φ)|D|S(L) + S(L)",
                    "reason": None,
                },
                "broadcast": view(12_345_678, 700_000, epochs),
                "point_to_point": view(12_345_678, 7_000_000, epochs),
            },
        },
        "computation": {
            "client_flops": {"mean": 1.23e12, "max": 2e12},
            "server_flops": 3.4e13,
            "total_flops": 4.63e13,
            "paper": {"client_flops": 1.3e12, "server_flops": 3.5e13, "total_flops": 4.8e13},
            "uncounted_ops": {"client": {"relu": 2}, "server": {"max_pool2d": 1}},
        },
        "energy": {"modelled": modelled(), "measured": None},
        "seconds": 901.0,
        "training_seconds": 754.0,
        "samples_per_second": 3214.4,
        "weights_sha256": "ab" * 32,
        "versions": {"sglr": "0.1.0", "torch": "2.13.0"},
        "machine": {"system": "made up", "processor": "Imaginary 9000", "cores": "2"},
    }


def by_class(names: Sequence[str]) -> dict[str, Any]:
    """Return figures by class as a run with these classes has them."""
    known = range(len(names))
    square = [[900 if row == column else (row * 7 + column * 3) % 40 for column in known] for row in known]
    rows = [
        {"name": name, "support": sum(row) // 10, "recall": row[place] / sum(row), "precision": 0.8, "f1": 0.7}
        for place, (name, row) in enumerate(zip(names, square, strict=True))
    ]
    shares = {"majority_share": 0.4321, "balanced_accuracy": 0.8123, "macro_f1": 0.7123}
    return {**shares, "per_class": rows, "confusion": square}


def view(up: float, down: float, epochs: int) -> dict[str, Any]:
    total = up + down
    each = {"mean": total / 10, "max": total / 8}
    sums = {"total_bytes": total, "up_bytes": up, "down_bytes": down}
    return {**sums, "per_client_bytes": each, "per_epoch_bytes": total / epochs}


def modelled() -> dict[str, Any]:
    profile = {"name": "phone", "source": "a figure from somewhere, 2020"}
    sides = {"client_joules": {"mean": 12.3, "max": 20.0}, "server_joules": 340.0, "communication_joules": 45_600.0}
    return {**sides, "total_joules": 46_063.0, "profile": profile}


@pytest.fixture
def write_run(tmp_path: Path) -> Write:
    """Write a run folder that looks like a finished training, or one that was stopped."""

    def write(
        folder: str = "run",
        *,
        epochs: int = 5,
        top: float = 0.875,
        finished: bool = True,
        validated: bool = True,
        classes: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Run:
        experiment = Experiment.from_flat({"method": "sglr", "epochs": epochs, **settings})
        run = create_run(tmp_path / folder, experiment)
        for epoch in range(1, epochs + 1 if finished else epochs):
            accuracy = top * (1 - math.exp(-epoch)) / (1 - math.exp(-epochs))
            run.append(record(epoch, accuracy, validated=validated))
        if finished:
            run.write_summary(summary(top, epochs, validated=validated))
        if classes is not None:
            (run.path / "classes.json").write_text(json.dumps(classes), encoding="utf-8")
        return run

    return write
