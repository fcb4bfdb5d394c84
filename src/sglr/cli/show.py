"""``sglr show``: the settings, progress and results of a run, a comparison or a sweep."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.cli.options import AsJson, Debug
from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from sglr.runs.folder import Run

FEW = "settings that differ from the default (--all shows all)"

Folder = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a run, finished or not, of a comparison, or of a sweep.")
]

Everything = Annotated[
    bool, typer.Option("--all", metavar="", help="Show all settings, not only those that differ from the default.")
]


def show(run: Folder, everything: Everything = False, as_json: AsJson = False, debug: Debug = False) -> None:
    """Show the results, the progress and the settings of a run, or the table of a comparison or a sweep."""
    del debug
    from sglr.runs.folder import damage_explained

    with damage_explained(run):
        _show(run, everything, as_json)


def _show(run: Path, everything: bool, as_json: bool) -> None:
    from sglr.studies.compare.comparison import COMPARISON, Comparison

    if (run / COMPARISON).is_file():
        from sglr.cli.study import print_results

        return print_results(Comparison.read(run), as_json)
    from sglr.studies.sweeps.results import SWEEP, Sweep

    if (run / SWEEP).is_file():
        from sglr.cli.sweep import print_sweep

        return print_sweep(Sweep.read(run), as_json)
    from sglr.runs.folder import Run

    described = describe(Run.open(run))
    return _print_json(described) if as_json else _print_run(described, everything)


def describe(run: Run) -> dict[str, Any]:
    """Return the content of a run folder.

    Raises
    ------
    ValueError, KeyError, TypeError and the like
        If one of its files is damaged.
    """
    from sglr.cli.result import result_facts

    history, summary = run.history, run.summary
    if summary is not None:
        result_facts(summary)  # damage must show before anything is printed
    _curves(history, summary)
    return {
        "path": str(run.path),
        "status": "unfinished" if summary is None else "done",
        "epochs_done": len(history),
        "settings": run.settings,
        "history": history,
        "summary": summary,
    }


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _print_run(described: Mapping[str, Any], everything: bool) -> None:
    from rich.console import Console

    from sglr.cli.result import method_title, print_privacy, result_facts, warn_of_majority
    from sglr.cli.screens import facts

    console = Console(highlight=False)
    settings, summary, path = described["settings"], described["summary"], Path(described["path"])
    if summary is not None:
        console.print(facts(f"results: {method_title(summary['method'])}", result_facts(summary)))
        warn_of_majority(console, summary)
        print_privacy(console, summary)
    progress = f"{described['epochs_done']} of {settings.get('epochs', '?')} epochs"
    console.print(
        facts(f"training: {progress}", _curves(described["history"], summary) or {"no epoch has finished yet": ""})
    )
    title, shown = ("settings", settings) if everything else (FEW, changed(settings))
    rows = {name: str(value) for name, value in shown.items()}
    console.print(facts(title, rows or {"none": ""}, columns=2 if len(rows) > 1 else 1))
    console.print(f"run     {path}", markup=False, soft_wrap=True)
    ahead = f"next    sglr resume {path}" if summary is None else f"report  {path / 'report.html'}"
    console.print(ahead, markup=False, soft_wrap=True)


def changed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that differ from the defaults of the named parts."""
    from sglr.core.registry import PARTS
    from sglr.runs.config import Experiment

    default = Experiment.from_flat({}).flat()
    named: dict[str, Any] = {}
    usual = default
    for kind in PARTS:
        # A part was a Python object, or its package is not installed.
        with suppress(UsageError, KeyError):
            usual = Experiment.from_flat(named | {kind: settings[kind]}).flat()
            named[kind] = settings[kind]
    usual |= {kind: default[kind] for kind in PARTS}
    return {name: value for name, value in settings.items() if name not in usual or usual[name] != value}


def _curves(history: Sequence[Mapping[str, Any]], summary: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the course of each figure, from the first epoch to the last."""
    from sglr.cli.screens import sparkline
    from sglr.report.numbers import decimal
    from sglr.report.score_style import headline

    score = headline((summary or {}).get("test"), history)
    figures: dict[str, tuple[str, Callable[[float], str]]] = {
        "loss": ("loss", decimal),
        f"train {score.title}": (score.training, score.write),
        "validation": (score.validation, score.write),
    }
    curves = {}
    for name, (key, write) in figures.items():
        values = [float(record[key]) for record in history if key in record]
        if values:
            curves[name] = f"{write(values[0]):>7} {sparkline(values, 40)} {write(values[-1])}"
    return curves
