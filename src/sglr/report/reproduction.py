"""The report of a reproduction: what the paper found beside what was found here, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sglr.core.errors import UsageError
from sglr.report import numbers
from sglr.report.page import environment_rows, merged, relative_link, render
from sglr.report.palette import SERIES, dashes
from sglr.report.paper_table import FULL_POINTS, FULL_SHARE, show_table
from sglr.report.raster import png_address, value_range
from sglr.report.series_chart import SMALL, WIDE, read_series, series_chart
from sglr.report.svg import inline_svg
from sglr.storage.files import write_text
from sglr.storage.json_files import read_object

RECORDS, REPORT = "reproduction.json", "report.html"


@dataclass(frozen=True)
class Verdicts:
    """How many claims hold, fail and stay undecided."""

    holds: int
    fails: int
    undecided: int

    @classmethod
    def of(cls, claims: Sequence[Mapping[str, Any]]) -> Verdicts:
        """Count the verdicts of claims."""
        verdicts = [str(claim["verdict"]) for claim in claims]
        return cls(*(verdicts.count(verdict) for verdict in ("holds", "fails", "undecided")))


def write_reproduction_report(folder: Path, records: Sequence[Mapping[str, Any]], command: str) -> Path:
    """Write ``report.html`` into ``folder`` and return its path.

    Parameters
    ----------
    folder
        Where; it exists.
    records
        One for each table or figure of the paper: ``name``, ``title``, ``scale``, ``seeds``, ``setting``, ``tables``
        (with ``paper``, ``ours``, ``spread``, ``difference``, ``note`` in each of ``cells``), ``charts``, ``pictures``,
        ``claims`` (with a ``verdict``: holds, fails or undecided), ``notes``, ``seconds``, ``runs``, ``versions`` and,
        if known, ``machine``.
    command
        What repeats it.
    """
    write_text(folder / REPORT, reproduction_page(folder, folder, records, command))
    return folder / REPORT


def read_records(folder: Path) -> tuple[list[dict[str, Any]], str]:
    """Read what a reproduction found, and the command that repeats it, from its folder.

    Raises
    ------
    UsageError
        If its record is missing or damaged.
    """
    try:
        content = read_object(folder / RECORDS) or {}
        return list(content["artefacts"]), str(content["command"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"its {RECORDS} cannot be read ({error})"
        raise UsageError("reproduction", folder, problem, "run the same reproduction again") from error


def reproduction_page(place: Path, folder: Path, records: Sequence[Mapping[str, Any]], command: str) -> str:
    """Return the page of a reproduction whose runs are in ``folder``, for a file in the folder ``place``."""
    single = len(records) == 1
    claims = [claim for record in records for claim in record.get("claims") or ()]
    return render(
        "reproduction.html.j2",
        title=str(records[0]["title"]) if single else "Paper against ours",
        sentence="" if single else _sentence(records),
        single=single,
        verdicts=Verdicts.of(claims),
        claimed=len(claims),
        seconds=sum(float(record.get("seconds") or 0.0) for record in records),
        runs=len({(run["path"], run["seed"]) for record in records for run in record.get("runs") or ()}),
        artefacts=[_artefact(record, number, folder, place) for number, record in enumerate(records)],
        full_points=FULL_POINTS,
        full_share=FULL_SHARE * 100,
        command=command,
        environment=environment_rows(
            *(merged([one.get(key) or {} for one in records]) for key in ("versions", "machine"))
        ),
    )


def _sentence(records: Sequence[Mapping[str, Any]]) -> str:
    scales = sorted({str(record["scale"]) for record in records})
    seeds = sorted({seed for record in records for seed in record.get("seeds") or ()})
    named = f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
    return f"{len(records)} tables and figures of the paper, at scale {' and '.join(scales)}, {named}."


def _artefact(record: Mapping[str, Any], number: int, folder: Path, place: Path) -> dict[str, Any]:
    claims = list(record.get("claims") or ())
    tables = [show_table(table) for table in record.get("tables") or ()]
    return {
        "name": str(record["name"]),
        "title": str(record["title"]),
        "scale": str(record["scale"]),
        "seeds": ", ".join(str(seed) for seed in record.get("seeds") or ()),
        "setting": str(record.get("setting", "")),
        "verdicts": Verdicts.of(claims),
        "claims": claims,
        "tables": tables,
        "compared": next((table.compared for table in tables if table.compared), ""),
        "charts": _charts(record.get("charts") or (), f"{number}-{record['name']}"),
        "pictures": [_picture(picture) for picture in record.get("pictures") or ()],
        "notes": list(record.get("notes") or ()),
        "seconds": record.get("seconds"),
        "runs": [_run(run, folder, place) for run in record.get("runs") or ()],
    }


def _charts(charts: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """Draw the charts: small ones in pairs, a single one over the page's width as well."""
    return [
        {
            "title": str(chart["title"]),
            "small": inline_svg(series_chart(chart, SMALL), f"{name}-{place}", str(chart["title"])),
            "wide": inline_svg(series_chart(chart, WIDE), f"{name}-{place}-wide", str(chart["title"]))
            if len(charts) == 1
            else None,
            "lines": [_key(curve.label, place) for place, curve in enumerate(read_series(chart))],
            "banded": any(curve.spread for curve in read_series(chart)),
        }
        for place, chart in enumerate(charts)
    ]


def _key(label: str, number: int) -> dict[str, Any]:
    strokes = " ".join(f"{length:g}" for length in dashes(number))
    return {"label": label, "colour": number % len(SERIES), "dashes": strokes}


def _picture(picture: Mapping[str, Any]) -> dict[str, Any]:
    rows = []
    for row in picture["rows"]:
        low, high = value_range(row["images"])
        addresses = [png_address(image, low, high) for image in row["images"]]
        rows.append({"label": str(row["label"]), "images": addresses})
    return {"title": str(picture["title"]), "note": str(picture.get("note", "")), "rows": rows}


def _run(run: Mapping[str, Any], folder: Path, place: Path) -> dict[str, str]:
    report = folder / str(run["path"]) / REPORT
    return {
        "label": str(run["label"]),
        "seed": str(run["seed"]),
        "path": str(run["path"]),
        "accuracy": numbers.percent(run.get("accuracy")),
        "link": relative_link(report, place) if report.is_file() else "",
    }
