"""The report of a sweep: one table over all configurations, one picture, and what was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sglr.report import numbers
from sglr.report.comparison import divided_settings, setting_phrases
from sglr.report.page import environment_rows, merged, relative_link, render, setting_rows, written
from sglr.report.palette import SERIES, dashes
from sglr.report.score_style import ScoreStyle, headline_of_rows
from sglr.report.series_chart import SMALL, WIDE, read_series
from sglr.report.svg import inline_svg, standalone_svg
from sglr.report.sweep_figure import Lines, heat_map, lines, lines_figure, points, points_figure
from sglr.runs.folder import Run
from sglr.storage.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT = "report.html"


def write_sweep_report(folder: Path, record: Mapping[str, Any], command: str = "") -> None:
    """Write ``report.html`` into ``folder``, and a plot such as ``accuracy.svg`` where the score is over a number.

    Parameters
    ----------
    folder
        The sweep's folder.
    record
        What its ``sweep.json`` holds.
    command
        The command that repeats the sweep, if there is one.
    """
    score = headline_of_rows(record["rows"])
    found, plot = lines(record["rows"], score), folder / f"{score.name}.svg"
    if found is None:
        plot.unlink(missing_ok=True)
    else:
        write_text(plot, standalone_svg(lines_figure(found, WIDE), score.name, _title(found, score)))
    write_text(folder / REPORT, sweep_page(folder, folder, record, command, plot=plot.name if found else ""))


def sweep_figure(rows: Sequence[Mapping[str, Any]], score: ScoreStyle) -> Figure:
    """Draw a score over the number that varies, or where none does one point per configuration."""
    found = lines(rows, score)
    return points_figure(rows, score) if found is None else lines_figure(found, WIDE)


def sweep_page(place: Path, folder: Path, record: Mapping[str, Any], command: str = "", plot: str = "") -> str:
    """Return the page of a sweep whose runs are in ``folder``, for a file in the folder ``place``.

    Parameters
    ----------
    place, folder
        Where the page will be, and where the sweep is.
    record, command
        As for `write_sweep_report`.
    plot
        The file beside the page that has its picture, if there is one.
    """
    rows: Sequence[Mapping[str, Any]] = record["rows"]
    runs = [Run(folder / run) for row in rows for run in row["runs"]]
    summaries = [run.summary or {} for run in runs]
    shared, varied = divided_settings(runs)
    score = headline_of_rows(rows)
    found = lines(rows, score)
    heat = heat_map(rows, score) if found is None else None
    return render(
        "sweep.html.j2",
        title=_headline(record["keys"], rows),
        sentence=_sentence(rows, shared),
        score=score,
        tiles=_tiles(record, score),
        lines=None if found is None else _drawn(found, score),
        heat=heat,
        points=points(rows, score) if found is None and heat is None else None,
        plot=plot,
        seeds=max(len(row["seeds"]) for row in rows),
        table=_table(record, score),
        diverged=[f"{row['label']}, {note}" for row in rows for note in row["diverged"]],
        runs=_runs(rows, folder, place, score),
        settings=setting_rows(shared),
        varied=sorted(varied - {"seed"}),
        command=command,
        environment=environment_rows(*(merged([one.get(key) or {} for one in summaries]) for key in _ORIGINS)),
    )


_ORIGINS = ("versions", "machine")


def _title(found: Lines, score: ScoreStyle) -> str:
    return f"test {score.title} over {found.axis}"


def _headline(keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    if len(rows) == 1:
        return "Sweep"
    *before, last = keys
    return f"Sweep over {', '.join(before)} and {last}" if before else f"Sweep over {last}"


def _sentence(rows: Sequence[Mapping[str, Any]], shared: Mapping[str, Any]) -> str:
    number = sum(len(row["runs"]) for row in rows)
    parts = [f"{number} run{'' if number == 1 else 's'} of {len(rows)} configuration{'' if len(rows) == 1 else 's'}"]
    several = any(len(row["seeds"]) > 1 for row in rows)
    told = " Figures are means over seeds, ± one standard deviation." if several else ""
    return ", ".join(parts + setting_phrases(shared)) + "." + told


def _tiles(record: Mapping[str, Any], score: ScoreStyle) -> list[tuple[str, str, str]]:
    """Return name, figure and remark of each headline."""
    rows = record["rows"]
    best = next((row for row in rows if row["label"] == record["best"]), None)
    diverged = sum(len(row["diverged"]) for row in rows)
    runs = sum(len(row["runs"]) for row in rows)
    seconds = sum((row["seconds"] or 0.0) * len(row["runs"]) for row in rows)
    tiles = [
        ("Configurations", numbers.count(len(rows)), f"{runs} run{'' if runs == 1 else 's'}"),
        ("Training time", numbers.duration(seconds), "of all runs, one after another"),
    ]
    if diverged:
        tiles.append(("Diverged", numbers.count(diverged), f"of {runs} runs"))
    ceiling = next((row for row in rows if row["label"] == record.get("ceiling")), None)
    if ceiling is not None:
        tiles.insert(0, ("With pooled data", score.write(ceiling["test"].get(score.name)), ceiling["label"]))
    if best is not None:
        tiles.insert(0, (f"Best test {score.title}", score.write(best["test"].get(score.name)), best["label"]))
    return tiles


def _drawn(found: Lines, score: ScoreStyle) -> dict[str, Any]:
    curves, title = read_series(found.chart), _title(found, score)
    return {
        "title": f"{title[:1].upper()}{title[1:]}",
        "wide": inline_svg(lines_figure(found, WIDE), "wide", title),
        "small": inline_svg(lines_figure(found, SMALL), "narrow", title),
        "keys": [_key(one.label, number) for number, one in enumerate(curves)] if len(curves) > 1 else [],
        "banded": any(one.spread for one in curves),
    }


def _key(label: str, number: int) -> dict[str, Any]:
    strokes = " ".join(f"{length:g}" for length in dashes(number))
    return {"label": label, "colour": number % len(SERIES), "dashes": strokes}


def _table(record: Mapping[str, Any], score: ScoreStyle) -> dict[str, Any]:
    named = any(row["name"] for row in record["rows"])
    return {
        "keys": [*(["name"] if named else []), *record["keys"]],
        "rows": [
            {
                "label": row["label"],
                "values": [
                    *([row["name"] or numbers.NONE] if named else []),
                    *(written(row["values"][key]) for key in record["keys"]),
                ],
                "score": _figure(row["test"].get(score.name), score),
                "spread": score.spread(row["test"].get(f"{score.name}_sd")),
                "over_clients": score.spread(row["test"].get(f"{score.name}_std_over_clients")) or numbers.NONE,
                "sent": numbers.size(row["communication"]["up_bytes"]),
                "received": numbers.size(row["communication"]["down_bytes"]),
                "time": numbers.duration(row["seconds"]),
                "best": row["label"] == record["best"] and len(record["rows"]) > 1,
            }
            for row in record["rows"]
        ],
    }


def _scores(row: Mapping[str, Any]) -> Sequence[float | None]:
    """Return the score of every run; older sweeps tell accuracies alone."""
    found: Sequence[float | None] = row["scores"] if "scores" in row else row["accuracies"]
    return found


def _figure(value: float | None, score: ScoreStyle) -> str:
    return "diverged" if value is None else score.write(value)


def _runs(rows: Sequence[Mapping[str, Any]], folder: Path, place: Path, score: ScoreStyle) -> list[dict[str, str]]:
    return [
        {
            "label": row["label"],
            "seed": str(seed),
            "score": _figure(value, score),
            "folder": run,
            "link": relative_link(folder / run / REPORT, place) if (folder / run / REPORT).is_file() else "",
        }
        for row in rows
        for seed, run, value in zip(row["seeds"], row["runs"], _scores(row), strict=True)
    ]
