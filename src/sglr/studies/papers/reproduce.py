"""Reproduce a paper's tables and figures: train their runs, and compare the results with the paper."""

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
from sglr.core.errors import Interrupted
from sglr.report.reproduction import write_reproduction_report
from sglr.report.reproduction_markdown import reproduction_markdown
from sglr.runs.new_folder import folder_of_runs, refuse_single_run
from sglr.storage.files import write_text
from sglr.studies.papers.claims import Verdict, judge
from sglr.studies.papers.declared import Artefact, PaperTrial, artefacts, read_artefact
from sglr.studies.papers.measured import ArtefactKind, MeasuredArtefact, Outcomes, outcome_of
from sglr.studies.scheduler.checks import check_request
from sglr.studies.scheduler.datasets import Datasets
from sglr.studies.scheduler.run_all import Observer, run_all
from sglr.studies.scheduler.trial import Trial
from sglr.system.extras import require

RECORD, RESULTS, TRIALS = "reproduction.json", "results.md", "cells"


@dataclass(frozen=True)
class Reproduction:
    """What was reproduced.

    Parameters
    ----------
    path
        Its folder: ``reproduction.json``, ``results.md``, ``report.html``, and every run in ``cells``.
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
    observe: Observer = lambda _: None,
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
        Seeds of every place of a grid; None is the scale's own number.
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
        Called with `sglr.studies.scheduler.progress.StudyProgress` whenever a run is over. With one job it is also
        called with `sglr.studies.scheduler.progress.TrialStarted`, and with every event of a run.
    stop
        Asked again and again; True ends the reproduction with checkpoints.

    Raises
    ------
    UsageError
        If a name or number is wrong, data is missing, or the folder holds something else.
    Interrupted
        If ``stop`` answered True.
    """
    require("reproduce", "artefact", ", ".join(names))
    folder = out if out is not None else Path("runs") / f"reproduce-{scale}"
    shared = {"device": device} | ({"data_dir": data_dir} if data_dir else {})
    chosen = [read_artefact(name, scale, seeds=seeds, overrides=shared) for name in _names(names)]
    trials, datasets = _trials(chosen, folder / TRIALS), Datasets()
    check_request(trials, jobs, None, datasets)
    refuse_single_run(folder, "the reproduction")
    with folder_of_runs(folder):
        try:
            found = run_all(trials, jobs=jobs, observe=observe, stop=stop, datasets=datasets)
        except Interrupted:
            raise Interrupted(f"stopped; the same command again with out = {folder} goes on from there") from None
        outcomes = {outcome.experiment.fingerprint(): outcome for outcome in found}
        records = [_record(artefact, outcomes, folder) for artefact in chosen]
        write_text(folder / RECORD, json.dumps({"command": command, "artefacts": records}, indent=2) + "\n")
        write_text(folder / RESULTS, reproduction_markdown(records, command))
        write_reproduction_report(folder, records, command)
        return Reproduction(folder, records)


def _names(names: Sequence[str]) -> tuple[str, ...]:
    return artefacts() if list(names) == ["all"] else tuple(dict.fromkeys(names))


def _trials(chosen: Sequence[Artefact], folder: Path) -> list[Trial]:
    """Return the trials of artefacts, each with a label that says where in which artefact it is."""
    return [
        Trial.of(trial.experiment, folder, f"{artefact.name} {_label(artefact, trial)}")
        for artefact in chosen
        for trial in artefact.trials
    ]


def _label(artefact: Artefact, trial: PaperTrial) -> str:
    return f"{artefact.options['row_title']} {trial.row}, {trial.column}".strip()


def _record(artefact: Artefact, outcomes: Outcomes, folder: Path) -> dict[str, Any]:
    """Return what the record says of an artefact."""
    started = time.perf_counter()
    trials = artefact.trials
    found = [outcome_of(trial, outcomes) for trial in trials]
    own = {outcome.experiment.fingerprint(): outcome for outcome in found}
    measured = _kind(artefact)(artefact, own, folder)
    runs = [
        {
            "label": _label(artefact, trial),
            "seed": trial.seed,
            "path": outcome.run.path.relative_to(folder).as_posix(),
            "accuracy": outcome.accuracy,
        }
        for trial, outcome in zip(trials, found, strict=True)
    ]
    trained = sum(outcome.seconds for outcome in own.values())
    return {
        "name": artefact.name,
        "title": artefact.title,
        "scale": artefact.scale,
        "seeds": list(artefact.seeds) if trials else [],
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


def _kind(artefact: Artefact) -> ArtefactKind:
    return cast(ArtefactKind, import_module(f"sglr.studies.papers.kinds.{artefact.kind}").measure)


def _verdicts(artefact: Artefact, measured: MeasuredArtefact) -> list[Verdict]:
    verdicts = [judge(claim, measured.figures[claim.measure]) for claim in artefact.claims]
    if artefact.scale != "smoke" or not artefact.trials:
        return verdicts
    too_short = "the smoke scale trains too little to judge anything"
    return [dataclasses.replace(verdict, verdict="undecided", evidence=too_short) for verdict in verdicts]


def _setting(artefact: Artefact) -> str:
    """Describe in one sentence what was trained, and how the paper differs."""
    trials = artefact.trials
    if not trials:
        return "Computed from closed forms; nothing is trained."
    experiments = [trial.experiment for trial in trials]
    first, paper = experiments[0], read_artefact(artefact.name, "full").trials[0].experiment
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
