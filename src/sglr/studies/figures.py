"""A row of a study's results: the mean figures of a configuration's runs, and their spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from sglr.studies.scheduler.outcome import Outcome


def row_figures(outcomes: Sequence[Outcome], folder: Path) -> dict[str, Any]:
    """Return what every row has: ``seeds``, ``runs`` (folders inside ``folder``), ``diverged`` and mean figures.

    Parameters
    ----------
    outcomes
        Of one configuration, one for every seed.
    folder
        The study's folder.
    """
    summaries = [one.run.summary for one in outcomes if one.problem is None]
    return {
        "seeds": [one.experiment.seed for one in outcomes],
        "runs": [one.run.path.relative_to(folder).as_posix() for one in outcomes],
        "diverged": [f"seed {one.experiment.seed}: {one.problem}" for one in outcomes if one.problem is not None],
        **mean_figures([summary for summary in summaries if summary is not None]),
    }


def mean_figures(finished: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means of figures over the summaries of finished runs; None where no run has a figure."""
    accuracies = [summary["test"]["accuracy"] for summary in finished]
    return {
        "test": {
            "accuracy": mean(accuracies),
            "accuracy_sd": spread(accuracies),
            "accuracy_std_over_clients": _mean_of(finished, "test", "accuracy_std_over_clients"),
            "balanced_accuracy": _mean_of(finished, "test", "balanced_accuracy"),
        },
        "best_epoch": _mean_of(finished, "validation", "best_epoch"),
        "communication": {name: _mean_of(finished, "communication", name) for name in ("up_bytes", "down_bytes")},
        "seconds": _mean_of(finished, "seconds"),
        "samples_per_second": _mean_of(finished, "samples_per_second"),
    }


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, or None of no values."""
    return fmean(values) if values else None


def spread(values: Sequence[float]) -> float | None:
    """Return the standard deviation of a sample, or None of fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def _mean_of(summaries: Sequence[Mapping[str, Any]], *keys: str) -> float | None:
    """Return the mean of a figure over runs; None where no run has it."""
    found = []
    for summary in summaries:
        value: Any = summary
        for key in keys:
            value = None if value is None else value.get(key)  # older runs lack some
        if value is not None:
            found.append(float(value))
    return mean(found)
