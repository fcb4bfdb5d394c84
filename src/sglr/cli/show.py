"""``sglr show``: what a run or a comparison is, how far it is, and what came out."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.cli.options import AsJson, Debug
from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from sglr.run import Run


def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, finished or not, or of a comparison.")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show a run's settings, progress and results, or the table of a comparison."""
    del debug
    from sglr.compare import COMPARISON, read_comparison

    if (run / COMPARISON).is_file():
        comparison = read_comparison(run)
        _print_json(comparison.record()) if as_json else _print_comparison(comparison)
        return
    from sglr.run import Run

    opened = Run.open(run)
    try:
        described = describe(opened)
    except (ValueError, KeyError, OSError) as error:
        problem = f"cannot be read ({' '.join(str(error).split())})"
        raise UsageError("run", run, problem, f"try sglr resume {run}, or train again") from error
    _print_json(described) if as_json else _print_run(opened, described)


def describe(run: Run) -> dict[str, Any]:
    """Return what a run folder holds."""
    history, summary = run.history, run.summary
    return {
        "path": str(run.path),
        "status": "done" if summary is not None else "unfinished",
        "epochs_done": len(history),
        "settings": run.settings,
        "history": history,
        "summary": summary,
    }


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
