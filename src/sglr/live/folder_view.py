"""A folder of runs as the page shows it: a comparison, a sweep, a reproduction, or ``runs`` with all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sglr.live.plain_values import text
from sglr.live.run_sections import latest_score
from sglr.live.run_view import RunView
from sglr.live.view import Sections
from sglr.runs.folder import CONFIG

MOST_RUNS, DEEPEST = 1000, 3
LOOK_SECONDS = 5.0
"""How often new runs are looked for."""

SPARK = 40
"""Points of a run's small curve."""

_UNTOLD = ("name", "threads", "device", "stacking")
"""Settings that do not tell runs apart."""


class FolderView:
    """Reads all runs in a folder again and again.

    Parameters
    ----------
    folder
        The folder.
    """

    seconds = 0.6

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: dict[str, RunView] = {}
        self._looked = 0.0

    def run(self, name: str) -> RunView | None:
        """Return the run with a name that the page shows; None if there is none."""
        self._look()
        return self.runs.get(name)

    def read(self) -> Sections:
        """Return all sections: ``runs`` holds name, label, state, epochs, score, loss, cost, and a small curve."""
        self._look()
        labels = _labels({name: view.settings for name, view in self.runs.items()})
        return {
            "folder": {"name": text(self.folder.resolve().name), "folder": text(self.folder, 1000)},
            "runs": [_row(name, labels[name], view.read()) for name, view in self.runs.items()],
        }

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._looked + LOOK_SECONDS and self.runs:
            return
        self._looked = now
        found = sorted(find_runs(self.folder))[:MOST_RUNS]
        self.runs = {name: self.runs.get(name) or RunView(self.folder / name) for name in found}


def find_runs(folder: Path, deep: int = DEEPEST) -> Iterator[str]:
    """Yield the names of run folders inside ``folder``, relative to it; links are not followed."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
            continue
        if (Path(entry.path) / CONFIG).is_file():
            yield entry.name
        elif deep > 1:
            yield from (f"{entry.name}/{name}" for name in find_runs(Path(entry.path), deep - 1))


def _labels(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return what tells runs apart: the settings in which they differ."""
    keys = {key for one in settings.values() for key in one if key not in _UNTOLD}
    differing = sorted(key for key in keys if len({repr(one.get(key)) for one in settings.values()}) > 1)
    first = [key for key in ("method", "dataset", "model") if key in differing]
    last = ["seed"] if "seed" in differing else []
    order = [*first, *(key for key in differing if key not in (*first, *last)), *last]
    return {name: _label(one, order) for name, one in settings.items()}


def _label(settings: Mapping[str, Any], keys: list[str]) -> str:
    told = [
        text(settings[key], 40) if key in ("method", "dataset", "model") else f"{key}={text(settings[key], 40)}"
        for key in keys
        if settings.get(key) not in (None, "")
    ]
    return text(settings.get("name")) or text(", ".join(told), 160) or text(settings.get("method"), 60)


def _row(name: str, label: str, sections: Mapping[str, Any]) -> dict[str, Any]:
    score, history, run = sections["score"], sections["history"], sections["run"]
    curve = [one[score["validation"]] for one in history if score["validation"] in one]
    return {
        "name": text(name, 500),
        "label": label,
        "state": run["state"],
        "why": run["why"],
        "epochs_done": len(history),
        "epochs": run["epochs"],
        "step": sections["progress"]["step"],
        "steps": sections["progress"]["steps"],
        "score": latest_score(sections),
        "style": score,
        "loss": history[-1].get("loss") if history else None,
        "curve": curve[:: max(1, len(curve) // SPARK)],
        "cost": sections["cost"],
    }
