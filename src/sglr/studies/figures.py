"""A row of a study's results: the mean figures of a configuration's runs, and their spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from sglr.report.score_style import headline, test_score
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
    return {
        "test": _test_figures(finished),
        "best_epoch": _mean_of(finished, "validation", "best_epoch"),
        "communication": {name: _mean_of(finished, "communication", name) for name in ("up_bytes", "down_bytes")},
        "seconds": _mean_of(finished, "seconds"),
        "modelled_seconds": _mean_of(finished, "modelled_time", "seconds"),
        "samples_per_second": _mean_of(finished, "samples_per_second"),
    }


def _test_figures(finished: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of the headline under its name, with its spread over seeds and over clients, and what it is."""
    tests = [summary["test"] for summary in finished]
    score = headline(tests[0] if tests else None)
    found = [test_score(test, score.name) for test in tests]
    means, spreads = ([one[key] for one in found if one.get(key) is not None] for key in ("mean", "std_over_clients"))
    told = {"headline": score.name, "higher_is_better": score.higher_is_better, "unit": score.unit} if tests else {}
    return {
        **told,
        score.name: mean(means),
        f"{score.name}_sd": spread(means),
        f"{score.name}_std_over_clients": mean(spreads),
        "balanced_accuracy": _mean_of(finished, "test", "balanced_accuracy"),
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
