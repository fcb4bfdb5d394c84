"""The report of a sweep: one table over all configurations, one picture, and what was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sglr.report import numbers
from sglr.report.comparison import divided_settings, setting_phrases
from sglr.report.page import environment_rows, merged, relative_link, render, setting_rows, written
from sglr.report.palette import SERIES, dashes
from sglr.report.series_chart import SMALL, WIDE, read_series
from sglr.report.svg import inline_svg, standalone_svg
from sglr.report.sweep_figure import Lines, heat_map, lines, lines_figure, points
from sglr.runs.folder import Run
from sglr.storage.files import write_text

PLOT, REPORT = "accuracy.svg", "report.html"


def write_sweep_report(folder: Path, record: Mapping[str, Any], command: str = "") -> None:
    """Write ``report.html`` into ``folder``, and ``accuracy.svg`` where accuracy is drawn over a number.

    Parameters
    ----------
    folder
        The sweep's folder.
    record
        What its ``sweep.json`` holds.
    command
        The command that repeats the sweep, if there is one.
    """
    found = lines(record["rows"])
    if found is None:
        (folder / PLOT).unlink(missing_ok=True)
    else:
        write_text(folder / PLOT, standalone_svg(lines_figure(found, WIDE), "accuracy", _title(found)))
    write_text(folder / REPORT, sweep_page(folder, folder, record, command, plot=PLOT if found else ""))


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
    found = lines(rows)
    heat = heat_map(rows) if found is None else None
    return render(
        "sweep.html.j2",
        title=_headline(record["keys"], rows),
        sentence=_sentence(rows, shared),
        tiles=_tiles(record),
        lines=None if found is None else _drawn(found),
        heat=heat,
        points=points(rows) if found is None and heat is None else None,
        plot=plot,
        seeds=max(len(row["seeds"]) for row in rows),
        table=_table(record),
        diverged=[f"{row['label']}, {note}" for row in rows for note in row["diverged"]],
        runs=_runs(rows, folder, place),
        settings=setting_rows(shared),
        varied=sorted(varied - {"seed"}),
        command=command,
        environment=environment_rows(*(merged([one.get(key) or {} for one in summaries]) for key in _ORIGINS)),
    )


_ORIGINS = ("versions", "machine")


def _title(found: Lines) -> str:
    return f"test accuracy over {found.axis}"


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


def _tiles(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
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
        tiles.insert(0, ("With pooled data", numbers.percent(ceiling["test"]["accuracy"]), ceiling["label"]))
    if best is not None:
        tiles.insert(0, ("Best test accuracy", numbers.percent(best["test"]["accuracy"]), best["label"]))
    return tiles


def _drawn(found: Lines) -> dict[str, Any]:
    curves = read_series(found.chart)
    return {
        "title": _title(found).capitalize(),
        "wide": inline_svg(lines_figure(found, WIDE), "wide", _title(found)),
        "small": inline_svg(lines_figure(found, SMALL), "narrow", _title(found)),
        "keys": [_key(one.label, number) for number, one in enumerate(curves)] if len(curves) > 1 else [],
        "banded": any(one.spread for one in curves),
    }


def _key(label: str, number: int) -> dict[str, Any]:
    strokes = " ".join(f"{length:g}" for length in dashes(number))
    return {"label": label, "colour": number % len(SERIES), "dashes": strokes}


def _table(record: Mapping[str, Any]) -> dict[str, Any]:
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
                "accuracy": numbers.percent(row["test"]["accuracy"])
                if row["test"]["accuracy"] is not None
                else "diverged",
                "spread": numbers.points(row["test"]["accuracy_sd"]),
                "over_clients": numbers.points(row["test"]["accuracy_std_over_clients"]) or numbers.NONE,
                "sent": numbers.size(row["communication"]["up_bytes"]),
                "received": numbers.size(row["communication"]["down_bytes"]),
                "time": numbers.duration(row["seconds"]),
                "best": row["label"] == record["best"] and len(record["rows"]) > 1,
            }
            for row in record["rows"]
        ],
    }


def _runs(rows: Sequence[Mapping[str, Any]], folder: Path, place: Path) -> list[dict[str, str]]:
    return [
        {
            "label": row["label"],
            "seed": str(seed),
            "accuracy": "diverged" if accuracy is None else numbers.percent(accuracy),
            "folder": run,
            "link": relative_link(folder / run / REPORT, place) if (folder / run / REPORT).is_file() else "",
        }
        for row in rows
        for seed, run, accuracy in zip(row["seeds"], row["runs"], row["accuracies"], strict=True)
    ]
