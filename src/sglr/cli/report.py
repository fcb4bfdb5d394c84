"""``sglr report``: the page of a run, of several runs side by side, of a comparison or of a reproduction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sglr.cli.options import Debug
from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from sglr.runs.folder import Run

Folders = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN…",
        help="Folders of runs, finished or not; or one folder of a comparison, sweep, reproduction or several runs.",
        show_default=False,
    ),
]
File = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="<file>",
        help="Write the page here; default: report.html in the given folder, or in the current one for several runs.",
    ),
]
PAGE = "report.html"


def report(ctx: typer.Context, runs: Folders, out: File = None, debug: Debug = False) -> None:
    """Write a report as one HTML page that works offline.

    For one run: its curves, costs and settings. For several runs: a comparison, in which runs that differ
    only by their seed share a row. For a comparison, a sweep or a reproduction: its page again.
    """
    del debug
    from sglr.cli.options import typed
    from sglr.runs.folder import damage_explained

    try:
        with damage_explained(Path(", ".join(map(str, runs)))):
            path = _write_one(runs[0], out) if len(runs) == 1 else _write_several(runs, out, typed(ctx))
    except OSError as error:
        remedy = "choose another file with --out"
        # The page is written whole or not at all, so it is the folder that can't be written.
        place = out or (Path(error.filename).parent if error.filename else runs[0])
        raise UsageError("out", place, f"cannot be written ({error.strerror})", remedy) from error
    print(path)


def _write_one(folder: Path, out: Path | None) -> Path:
    """Write the page for the kind of the folder."""
    kind = _kind(folder)
    page = _place(out, folder / PAGE)
    if kind == "run":
        from sglr.report.run_report import run_page
        from sglr.runs.folder import Run

        return _write(page, run_page(Run.open(folder)))
    if kind == "reproduction":
        from sglr.report.reproduction import read_records, reproduction_page

        records, command = read_records(folder)
        return _write(page, reproduction_page(page.parent, folder, records, command))
    from sglr.report.comparison import comparison_page, write_comparison_report
    from sglr.report.grouping import group_runs
    from sglr.runs.folder import read_command

    command = read_command(folder)
    if kind == "sweep":
        return _write_sweep(folder, page, command)
    if kind != "comparison":
        return _write(page, comparison_page(page.parent, group_runs(_runs_in(folder)), command))
    from sglr.studies.compare.comparison import Comparison

    rows = Comparison.read(folder).with_paths()
    if out is None:
        write_comparison_report(folder, rows, command)
        return page
    return _write(page, comparison_page(page.parent, rows, command))


def _write_sweep(folder: Path, page: Path, command: str) -> Path:
    from sglr.report.sweep import sweep_page, write_sweep_report
    from sglr.studies.sweeps.results import Sweep

    record = Sweep.read(folder).record()
    if page != folder / PAGE:
        return _write(page, sweep_page(page.parent, folder, record, command))
    write_sweep_report(folder, record, command)
    return page


def _write_several(folders: Sequence[Path], out: Path | None, command: str) -> Path:
    """Write one page that compares runs."""
    from sglr.report.comparison import comparison_page
    from sglr.report.grouping import group_runs
    from sglr.runs.folder import Run

    for folder in folders:
        kind = _kind(folder)
        if kind != "run":
            what = "is a folder of several runs" if kind == "runs" else f"is a {kind}"
            raise UsageError("run", folder, f"{what}, not a run", "give runs only, or this folder alone")
    page = _place(out, Path(PAGE))
    return _write(page, comparison_page(page.parent, group_runs([Run.open(folder) for folder in folders]), command))


def _kind(folder: Path) -> str:
    """Return the kind of a folder: ``run``, ``comparison``, ``sweep``, ``reproduction``, or ``runs`` if it has runs.

    Raises
    ------
    UsageError
        If it is none of these.
    """
    from sglr.report.reproduction import RECORDS
    from sglr.runs.folder import CONFIG
    from sglr.studies.compare.comparison import COMPARISON
    from sglr.studies.sweeps.results import SWEEP

    if not folder.is_dir():
        problem, remedy = ("is a file", "give its folder") if folder.exists() else ("does not exist", "give a run")
        raise UsageError("run", folder, problem, remedy)
    marks = {CONFIG: "run", COMPARISON: "comparison", SWEEP: "sweep", RECORDS: "reproduction"}
    found = next((kind for name, kind in marks.items() if (folder / name).is_file()), None)
    if found is None and not _runs_in(folder):
        raise UsageError(
            "run", folder, f"not a run (it has no {CONFIG}), and contains no runs", "give the folder of a run"
        )
    return found or "runs"


def _runs_in(folder: Path) -> list[Run]:
    from sglr.runs.folder import CONFIG, Run

    return [Run.open(path) for path in sorted(folder.iterdir()) if (path / CONFIG).is_file()]


def _place(out: Path | None, default: Path) -> Path:
    """Return the file to write, in a folder that exists."""
    if out is None:
        return default
    page = out / PAGE if out.is_dir() else out
    page.parent.mkdir(parents=True, exist_ok=True)
    return page


def _write(page: Path, text: str) -> Path:
    from sglr.storage.files import write_text

    write_text(page, text)
    return page
