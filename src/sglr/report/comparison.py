"""The report of a comparison: one table, one plot, and what was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sglr.report import numbers
from sglr.report.batch_words import batch_words
from sglr.report.charts import Curve
from sglr.report.comparison_chart import comparison_chart, mean_curve
from sglr.report.comparison_table import (
    COSTS,
    Compared,
    ComparisonRow,
    comparison_table,
    result_columns,
    shared_score,
)
from sglr.report.cost_charts import bytes_and_score, bytes_chart, ledger_bars, worth_drawing
from sglr.report.costs import within
from sglr.report.page import environment_rows, merged, relative_link, render, setting_rows
from sglr.report.score_style import ScoreStyle
from sglr.report.svg import inline_svg, standalone_svg
from sglr.report.time_to import mean_seconds_to, reached_by_all, time_curve, times_chart
from sglr.runs.folder import Run
from sglr.storage.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ComparisonRow", "comparison_figure", "comparison_page", "write_comparison_report"]

REPORT = "report.html"


def write_comparison_report(folder: Path, rows: Sequence[ComparisonRow | Mapping[str, Any]], command: str = "") -> None:
    """Write the plot, such as ``accuracy.svg``, and ``report.html`` into ``folder``.

    Parameters
    ----------
    folder
        Where; it exists.
    rows
        The methods in the order in which they are shown; mappings have the keys of `ComparisonRow`.
    command
        The command that repeats the comparison, if there is one.
    """
    score = shared_score(_read(rows))
    plot = f"{score.name}.svg"
    write_text(folder / plot, standalone_svg(comparison_figure(rows), score.name, _title(score)))
    write_text(folder / REPORT, comparison_page(folder, rows, command, plot=plot))


def comparison_figure(rows: Sequence[ComparisonRow | Mapping[str, Any]]) -> Figure:
    """Draw the validation score over epochs, one line per method; rows as for `write_comparison_report`."""
    methods = _read(rows)
    score = shared_score(methods)
    return comparison_chart(_curves(methods, score), score, named=True)


def comparison_page(
    folder: Path, rows: Sequence[ComparisonRow | Mapping[str, Any]], command: str = "", plot: str = ""
) -> str:
    """Return the page of a comparison.

    Parameters
    ----------
    folder
        Where the page will be: links lead from there.
    rows, command
        As for `write_comparison_report`.
    plot
        The file beside the page that has its first plot, if there is one.

    Raises
    ------
    UsageError
        If the runs were trained for different tasks.
    """
    methods = _read(rows)
    score = shared_score(methods)
    curves, points = _curves(methods, score), bytes_and_score(methods, score)
    scattered, against = worth_drawing(points), f"test {score.title} against bytes"
    shared, varied = divided_settings([run for one in methods for run in one.runs])
    return render(
        "comparison.html.j2",
        title=f"Comparison of {len(methods)} methods" if len(methods) != 1 else "Comparison",
        sentence=_sentence(methods, shared),
        score=score,
        chart=inline_svg(comparison_chart(curves, score, named=True), "wide", _title(score))
        if _drawable(curves)
        else None,
        small_chart=inline_svg(comparison_chart(curves, score, named=False), "narrow", _title(score)),
        plot=plot,
        seeds=max((len(one.runs) for one in methods), default=0),
        results=comparison_table(result_columns(score), methods),
        costs=comparison_table(COSTS, methods),
        bars=ledger_bars(methods),
        scatter=inline_svg(bytes_chart(points, score, wide=True), "scatter", against) if scattered else None,
        small_scatter=inline_svg(bytes_chart(points, score, wide=False), "small-scatter", against)
        if scattered
        else None,
        modelled=_modelled(methods, score),
        runs=[_shown_run(one.row.label, run, folder, score) for one in methods for run in one.runs],
        settings=setting_rows(shared),
        varied=sorted(varied),
        command=command,
        environment=environment_rows(_of_all(methods, "versions"), _of_all(methods, "machine")),
    )


def _modelled(methods: Sequence[Compared], score: ScoreStyle) -> dict[str, Any] | None:
    """Draw the scores against modelled time, with the time to the best score that all reach; None without clocks."""
    curves = [time_curve(one.row.label, one.histories, score.validation) for one in methods]
    if not _drawable(curves):
        return None
    clocked = [one for one, own in zip(methods, curves, strict=True) if own.values]
    shared = reached_by_all([each for one in clocked for each in one.histories], score)
    target = next((one.row.time_to for one in clocked if one.row.time_to is not None), shared)
    about = f"{score.title} over time"
    return {
        "chart": inline_svg(times_chart(curves, score, named=True), "times", about),
        "small": inline_svg(times_chart(curves, score, named=False), "small-times", about),
        "target": None if target is None else score.write(target),
        "is_best": target == shared,
        "rows": [(one.row.label, _time_to(one, score, target), *_time_of(one)) for one in clocked],
    }


def _time_to(method: Compared, score: ScoreStyle, target: float | None) -> str:
    seconds = None if target is None else mean_seconds_to(method.histories, score, target)
    return numbers.NONE if seconds is None else numbers.clock(seconds)


def _time_of(method: Compared) -> tuple[str, str]:
    """Write the modelled time of a whole training, and the share of it that clients wait."""
    waiting = method.mean("modelled_time", "waiting_share", "mean")
    return numbers.clock(method.mean("modelled_time", "seconds")), numbers.percent(waiting)


def _read(rows: Sequence[ComparisonRow | Mapping[str, Any]]) -> list[Compared]:
    return [Compared.read(ComparisonRow.of(row), number) for number, row in enumerate(rows)]


def _title(score: ScoreStyle) -> str:
    return f"validation {score.title} over epochs"


def _curves(methods: Sequence[Compared], score: ScoreStyle) -> list[Curve]:
    return [mean_curve(one.row.label, one.histories, score.validation) for one in methods]


def _drawable(curves: Sequence[Curve]) -> bool:
    return any(one.values for one in curves)


def _of_all(methods: Sequence[Compared], key: str) -> dict[str, str]:
    """Return the versions or machines of all runs."""
    return merged([summary.get(key) or {} for one in methods for summary in one.summaries])


def _shown_run(label: str, run: Run, folder: Path, score: ScoreStyle) -> dict[str, str]:
    summary = run.summary or {}
    return {
        "label": label,
        "seed": str(run.settings.get("seed", numbers.NONE)),
        "score": score.write(within(summary, *score.place)),
        "folder": run.path.name,
        "link": relative_link(run.path / REPORT, folder) if (run.path / REPORT).is_file() else "",
    }


def divided_settings(runs: Sequence[Run]) -> tuple[dict[str, Any], set[str]]:
    """Return the settings that all runs share, and the names of those that differ."""
    every = [run.settings for run in runs]
    names = list(dict.fromkeys(name for settings in every for name in settings))
    varied = {name for name in names if any(settings.get(name) != every[0].get(name) for settings in every)}
    return {name: every[0][name] for name in names if name not in varied}, varied


def _sentence(methods: Sequence[Compared], shared: Mapping[str, Any]) -> str:
    runs = sum(len(one.runs) for one in methods)
    parts = [f"{runs} run{'' if runs == 1 else 's'} of {len(methods)} method{'' if len(methods) == 1 else 's'}"]
    parts += setting_phrases(shared)
    seeds = max((len(one.runs) for one in methods), default=0)
    return ", ".join(parts) + "." + (" Figures are means over seeds, ± one standard deviation." if seeds > 1 else "")


def setting_phrases(shared: Mapping[str, Any]) -> list[str]:
    """Say in words what several runs have in common."""
    phrases = {
        "dataset": "on {}",
        "model": "with the model {}",
        "clients": "among {} clients",
        "partition": "partition {}",
        "epochs": "{} epochs",
    }
    found = [phrase.format(shared[name]) for name, phrase in phrases.items() if name in shared]
    return found + ([batch_words(shared)] if "batch_size" in shared else [])
