"""A pilot: train every method for a few epochs here, to learn how many epochs each needs to a score."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sglr.core.errors import UsageError
from sglr.experiment.train import train
from sglr.planner.time_advice import Pilot
from sglr.report.score_style import ScoreStyle, headline
from sglr.runs.config import SETTINGS, part_fields
from sglr.runs.folder import Run

FEWEST = 2
"""Epochs of a pilot, at least."""


def run_pilot(
    methods: Sequence[str],
    compressions: Sequence[str],
    epochs: int,
    settings: Mapping[str, Any],
    target: float | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Pilot:
    """Train every method with every compression, and count epochs to a score.

    Parameters
    ----------
    methods, compressions
        What to train; FL once.
    epochs
        How long.
    settings
        Of all trainings: data, model, clients. A parameter of methods is for those that have it.
    target
        The score; None for the best that all reach.
    told
        Called with what is trained next.

    Raises
    ------
    UsageError
        If it is too short to tell anything, or there is no validation data to tell it by.
    """
    if epochs < FEWEST:
        problem = "is too short to tell how fast methods learn"
        raise UsageError("pilot", epochs, problem, f"give {FEWEST} epochs or more, such as 10")
    configurations = [(method, code) for method in methods for code in (compressions if method != "fl" else ["none"])]
    histories: dict[str, Sequence[Mapping[str, Any]]] = {}
    score = ScoreStyle()
    with tempfile.TemporaryDirectory() as folder:
        for number, (method, code) in enumerate(configurations):
            label = method if code == "none" else f"{method} {code}"
            told(label)
            known = SETTINGS | part_fields("method", method).keys()
            own = {name: value for name, value in settings.items() if name in known}
            out = Path(folder) / str(number)
            run: Run = train(
                method, **own, epochs=epochs, schedule="constant", compression=code, out=out, progress=False
            )
            histories[label] = run.history
            score = headline((run.summary or {}).get("test"), run.history)
    return judged(histories, score, epochs, target)


def judged(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], score: ScoreStyle, epochs: int, target: float | None
) -> Pilot:
    """Count each method's epochs to a score, and say where the pilot is too short to tell."""
    curves = {name: [score.rank(float(row[score.validation])) for row in rows] for name, rows in histories.items()}
    if not all(curves.values()):
        problem = "has no validation data by which it could tell how fast methods learn"
        raise UsageError("pilot", epochs, problem, "give data with a validation part")
    wanted = min(map(max, curves.values())) if target is None else score.rank(target)
    found = {
        name: next((place + 1 for place, value in enumerate(curve) if value >= wanted), None)
        for name, curve in curves.items()
    }
    value = wanted if score.higher_is_better else -wanted
    return Pilot(epochs, value, f"{score.write(value)} {score.title}", found, _too_short(found, target, score))


def _too_short(found: Mapping[str, int | None], target: float | None, score: ScoreStyle) -> str:
    """Say why epochs to a score tell nothing."""
    if not any(found.values()):
        told = "the score" if target is None else score.write(target)
        return f"no method reached {told}"
    if len(found) > 1 and all(epochs == 1 for epochs in found.values()):
        return "all methods were there after one epoch"
    return ""
