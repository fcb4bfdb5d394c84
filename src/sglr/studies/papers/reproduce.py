"""Reproduce a paper's tables and figures: train their cells, and hold what comes out against the paper."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from sglr.assembly.summary import versions
from sglr.core.errors import UsageError
from sglr.report.reproduction import write_reproduction_report
from sglr.report.reproduction_markdown import reproduction_markdown
from sglr.runs.new_folder import folder_of_runs, refuse_single_run
from sglr.storage.files import write_text
from sglr.studies.papers.claims import Verdict, judge
from sglr.studies.papers.declared import Artefact, artefacts, read_artefact
from sglr.studies.papers.measured import Kind, Measured, Outcomes, outcome_of
from sglr.studies.scheduler.processes import default_jobs
from sglr.studies.scheduler.progress import SweepProgress
from sglr.studies.scheduler.run_all import train_all

RECORD, RESULTS = "reproduction.json", "results.md"


@dataclass(frozen=True)
class Reproduction:
    """What was reproduced.

    Parameters
    ----------
    path
        Its folder: ``reproduction.json``, ``results.md``, ``report.html``, and a run for every cell in ``cells``.
    records
        One for each artefact, as `sglr.report.reproduction.write_reproduction_report` takes them.
    """

    path: Path
    records: Sequence[Mapping[str, Any]]


def reproduce(
    names: Sequence[str],
    scale: str = "small",
    *,
    seeds: int | None = None,
    device: str = "auto",
    data_dir: Path | None = None,
    jobs: int | None = None,
    out: Path | None = None,
    command: str = "",
    observe: Callable[[SweepProgress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Reproduction:
    """Reproduce tables and figures of the paper.

    Parameters
    ----------
    names
        Names of `sglr.studies.papers.declared.artefacts`; ``["all"]`` is all.
    scale
        ``"full"``, ``"small"`` or ``"smoke"``.
    seeds
        Seeds of every cell; None is the scale's own number.
    device
        Where to train.
    data_dir
        Folder with data files.
    jobs
        Processes that train side by side; None is one per core on a CPU, one on a GPU.
    out
        The folder; None is ``runs/reproduce-<scale>``. What is finished there is not trained again.
    command
        The command line that asked for it, for the report.
    observe
        Told whenever a run is over.
    stop
        Asked again and again; True ends the sweep with checkpoints.

    Raises
    ------
    UsageError
        If a name or number is wrong, data is missing, or the folder holds something else.
    Interrupted
        If ``stop`` answered True.
    """
    if jobs is not None and jobs < 1:
        raise UsageError("jobs", jobs, "is not positive", "give 1 or more")
    folder = out if out is not None else Path("runs") / f"reproduce-{scale}"
    workers = default_jobs(device) if jobs is None else jobs
    shared = {"device": device} | ({"data_dir": data_dir} if data_dir else {}) | ({"threads": 1} if workers > 1 else {})
    chosen = [read_artefact(name, scale, seeds=seeds, overrides=shared) for name in _names(names)]
    refuse_single_run(folder, "the reproduction")
    with folder_of_runs(folder):
        experiments = [cell.experiment for artefact in chosen for cell in artefact.cells]
        outcomes = train_all(experiments, folder / "cells", jobs=workers, observe=observe, stop=stop)
        records = [_record(artefact, outcomes, folder) for artefact in chosen]
        write_text(folder / RECORD, json.dumps({"command": command, "artefacts": records}, indent=2) + "\n")
        write_text(folder / RESULTS, reproduction_markdown(records, command))
        write_reproduction_report(folder, records, command)
        return Reproduction(folder, records)


def _names(names: Sequence[str]) -> tuple[str, ...]:
    return artefacts() if list(names) == ["all"] else tuple(dict.fromkeys(names))


def _record(artefact: Artefact, outcomes: Outcomes, folder: Path) -> dict[str, Any]:
    """Fold an artefact's cells into what is told of it."""
    started = time.perf_counter()
    cells = artefact.cells
    found = [outcome_of(cell, outcomes) for cell in cells]
    own = {outcome.experiment.fingerprint(): outcome for outcome in found}
    measured = _kind(artefact)(artefact, own, folder)
    runs = [
        {
            "label": f"{artefact.options['row_title']} {cell.row}, {cell.column}".strip(),
            "seed": cell.seed,
            "path": outcome.run.path.relative_to(folder).as_posix(),
            "accuracy": outcome.accuracy,
        }
        for cell, outcome in zip(cells, found, strict=True)
    ]
    trained = sum(outcome.seconds for outcome in own.values())
    return {
        "name": artefact.name,
        "title": artefact.title,
        "scale": artefact.scale,
        "seeds": list(artefact.seeds) if cells else [],
        "setting": _setting(artefact),
        "tables": measured.tables,
        "charts": measured.charts,
        "pictures": measured.pictures,
        "claims": [dataclasses.asdict(verdict) for verdict in _verdicts(artefact, measured)],
        "notes": measured.notes,
        "seconds": trained + time.perf_counter() - started,
        "runs": runs,
        "versions": versions(),
    }


def _kind(artefact: Artefact) -> Kind:
    return cast(Kind, import_module(f"sglr.studies.papers.kinds.{artefact.kind}").measure)


def _verdicts(artefact: Artefact, measured: Measured) -> list[Verdict]:
    verdicts = [judge(claim, measured.figures[claim.measure]) for claim in artefact.claims]
    if artefact.scale != "smoke" or not artefact.cells:
        return verdicts
    too_short = "the smoke scale trains too little to judge anything"
    return [dataclasses.replace(verdict, verdict="undecided", evidence=too_short) for verdict in verdicts]


def _setting(artefact: Artefact) -> str:
    """Say in one sentence what was trained, and what the paper has instead."""
    cells = artefact.cells
    if not cells:
        return "Computed from closed forms; nothing is trained."
    experiments = [cell.experiment for cell in cells]
    first, paper = experiments[0], read_artefact(artefact.name, "full").cells[0].experiment
    named = {
        "dataset": "{} data",
        "image_size": "{} pixels a side",
        "model": "model {}",
        "samples_per_client": "{} samples per client",
        "epochs": "{} epochs",
        "batch_size": "batches of {}",
        "loss": "loss {}",
        "test_samples": "{} test samples",
    }
    ours, theirs = first.flat(), paper.flat()
    told = ", ".join(text.format(ours[name]) for name, text in named.items() if name in ours)
    differing = [
        text.format(theirs[name]) for name, text in named.items() if theirs.get(name, ours.get(name)) != ours.get(name)
    ]
    clients = ", ".join(dict.fromkeys(str(one.clients) for one in experiments))
    return f"Trained with {told}, |C| = {clients}." + (f" The paper: {', '.join(differing)}." if differing else "")
