"""The report of one run: one page that opens anywhere, offline."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sglr.report import numbers
from sglr.report.batch_words import batch_words
from sglr.report.charts import Records, loss_chart, score_chart
from sglr.report.classes import classes_section
from sglr.report.costs import cost_tables, ledger
from sglr.report.examples import read_examples
from sglr.report.leakage import leakage_section, read_leakage
from sglr.report.page import environment_rows, render, setting_rows, written
from sglr.report.score_style import ScoreStyle, best_so_far, headline, validated
from sglr.report.svg import inline_svg
from sglr.report.task_section import score_tile, task_section
from sglr.report.time_to import MODELLED, time_chart
from sglr.runs.folder import CONFIG, Run
from sglr.storage.files import write_text
from sglr.storage.json_files import read_object

REPORT, CLASSES = "report.html", "classes.json"

MOST_CELLS = 10**8
"""Clients times classes that are drawn, at most."""


@dataclass(frozen=True)
class Tile:
    """A headline figure: what it is, the figure, and a remark."""

    name: str
    figure: str
    remark: str = ""


def write_run_report(run: Run) -> Path:
    """Write ``report.html`` into the run's folder and return its path.

    The page needs neither network nor JavaScript. A run that is not finished is reported as far as it got.
    """
    path = run.path / REPORT
    write_text(path, run_page(run))
    return path


def run_page(run: Run) -> str:
    """Return the page of a run."""
    settings, summary, history = run.settings, run.summary or {}, run.history
    return render(
        "run.html.j2",
        title=settings.get("name") or f"{settings.get('method', 'run')} on {settings.get('dataset', 'data')}",
        sentence=sentence(settings, summary),
        unfinished=None if summary else progress(settings, history),
        tiles=tiles(summary, history),
        charts=_charts(summary, history),
        of_task=task_section(summary.get("test", {}), read_examples(run.path)),
        by_class=classes_section(summary.get("test", {})),
        warning=_majority_warning(summary.get("test", {})),
        leakage=leakage_section(read_leakage(run.path), history),
        defences=_defences(summary.get("defences")),
        classes=_classes_chart(run.path / CLASSES),
        ledger=ledger(summary.get("communication", {})),
        messages="messages" in summary.get("communication", {}),
        costs=cost_tables(summary),
        settings=setting_rows(settings),
        facts=_facts(summary),
        environment=environment_rows(summary.get("versions", {}), summary.get("machine", {})),
        command=run.command,
        again=shlex.join(["sglr", "train", "--config", str(run.path / CONFIG)]),
    )


def sentence(settings: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """Say in plain words what was run."""
    method = {"name": settings.get("method", "?"), **summary.get("method", {})}
    details = ", ".join(f"{key} = {value}" for key, value in method.items() if key != "name")
    cut = summary.get("cut", settings.get("cut"))
    task = (summary.get("task") or {}).get("name", "classification")
    model = f"{settings.get('model', '?')}" + ("" if task == "classification" else f" for {task}")
    model += f", cut at {cut}," if cut is not None else ""
    if (tail := summary.get("tail", settings.get("tail"))) is not None:
        model += f" with all behind {tail} back at the clients, who keep the labels,"
    clients, epochs = settings.get("clients", 1), settings.get("epochs", 0)
    lasted = _many(epochs, "epoch")
    if summary.get("stopped"):
        lasted = f"{summary['epochs_done']} of {lasted} (stopped: {summary['stopped']})"
    return (
        f"Method {method['name']}{f' ({details})' if details else ''} trained the model {model} on "
        f"{settings.get('dataset', '?')}, divided among {_many(clients, 'client')} ({settings.get('partition', '?')}), "
        f"for {lasted} with {batch_words(settings)}; "
        f"seed {settings.get('seed', 0)}."
    )


def progress(settings: Mapping[str, Any], history: Records) -> str:
    """Say how far an unfinished run got."""
    if not history:
        return "This run is not finished: no epoch is over yet."
    return f"This run is not finished: {len(history)} of {_many(settings.get('epochs', 0), 'epoch')} are over."


def tiles(summary: Mapping[str, Any], history: Records) -> list[Tile]:
    """Choose the headline figures; what is not known yet is left out."""
    last = history[-1] if history else {}
    shown = [*_score_tiles(summary, history)]
    traffic = summary.get("communication", last)
    if "up_bytes" in traffic:
        shown.append(Tile("Clients sent", numbers.size(traffic["up_bytes"]), "all clients together"))
        shown.append(Tile("Clients received", numbers.size(traffic["down_bytes"]), "all clients together"))
    seconds = summary.get("training_seconds", summary.get("seconds", last.get("seconds")))
    speed = summary.get("samples_per_second")
    if speed is None and last.get("seconds"):
        speed = last["samples"] / last["seconds"]
    if seconds is not None:
        told = [_many(len(history), "epoch") if history else "", f"{numbers.count(speed)} samples/s" if speed else ""]
        shown.append(Tile("Training time", numbers.duration(seconds), ", ".join(filter(None, told))))
    return shown


def _score_tiles(summary: Mapping[str, Any], history: Records) -> list[Tile]:
    test = summary.get("test") or {}
    score, shown = headline(test, history), []
    if test:
        name, figure, remark = score_tile(test, score)
        share = test.get("majority_share")
        majority = "" if share is None else f"majority {numbers.percent(share)}".replace(" ", "\u00a0")
        shown.append(Tile(name, figure, ", ".join(filter(None, (remark, majority)))))
        if test.get("balanced_accuracy") is not None and test.get("macro_f1") is not None:
            remark = f"macro F1 {numbers.percent(test['macro_f1'])}"
            shown.append(Tile("Balanced accuracy", numbers.percent(test["balanced_accuracy"]), remark))
    best = best_validation(summary, history)
    if best is not None:
        chosen, value, epoch = best
        name = "Best validation" if summary else "Best validation so far"
        shown.append(
            Tile(name if chosen == score else f"{name} {chosen.title}", chosen.write(value), f"at epoch {epoch}")
        )
    elif history and score.training in history[-1]:
        remark = f"at epoch {history[-1]['epoch']}"
        shown.append(Tile(f"Training {score.title}", score.write(history[-1][score.training]), remark))
    return shown


def _majority_warning(test: Mapping[str, Any]) -> str:
    """Return a warning if the model is no better than always predicting the most frequent class."""
    share = test.get("majority_share")
    if share is None or "accuracy" not in test or test["accuracy"] > share + 1e-9:
        return ""
    return (
        f"The test accuracy, {numbers.percent(test['accuracy'])}, does not exceed that of always predicting the most "
        f"frequent class, {numbers.percent(share)}. Look at balanced accuracy and at the recall of each class."
    )


def best_validation(summary: Mapping[str, Any], history: Records) -> tuple[ScoreStyle, float, int] | None:
    """Return the best validation score and its epoch, counted from 1; None without validation."""
    score = headline(summary.get("test"), history)
    if summary:
        return validated(summary.get("validation"), score)
    best = best_so_far(history, score)
    return None if best is None else (score, *best)


def _charts(summary: Mapping[str, Any], history: Records) -> list[dict[str, str]]:
    if not history:
        return []
    score, charts = headline(summary.get("test"), history), []
    has_validation = any(score.validation in row for row in history)
    if has_validation or any(score.training in row for row in history):
        best = best_validation(summary, history)
        svg = inline_svg(score_chart(history, best and best[2], score), score.name, f"{score.title} over epochs")
        note = "The band is the spread over clients (± one standard deviation)." if has_validation else ""
        charts.append({"title": score.heading, "svg": svg, "note": note})
    charts.append({"title": "Loss", "svg": inline_svg(loss_chart(history), "loss", "loss over epochs"), "note": ""})
    if MODELLED in history[-1] and any(score.validation in row or score.training in row for row in history):
        svg = inline_svg(time_chart(history, score), "modelled", f"{score.title} against modelled time")
        note = f"On the devices and links of the clock{_waits(summary.get('modelled_time'))}."
        charts.append({"title": f"{score.heading} against modelled time", "svg": svg, "note": note})
    return charts


def _waits(modelled: Mapping[str, Any] | None) -> str:
    if not modelled:
        return ""
    share = modelled["waiting_share"]
    whole = f"{numbers.clock(modelled['seconds'])} in all"
    return (
        f": {whole}; clients wait {numbers.percent(share['mean'])} of it, and at most {numbers.percent(share['max'])}"
    )


def _classes_chart(path: Path) -> str | None:
    content = read_object(path)
    if content is None:
        return None
    import numpy as np
    from matplotlib.image import AxesImage

    from sglr.data.class_counts import plot_classes_per_client

    if not content["classes"]:  # samples don't each have one
        return None
    counts = np.asarray(content["counts"], dtype=np.int64)
    if counts.ndim != 2 or counts.shape[1] != len(content["classes"]) or counts.size > MOST_CELLS:
        raise ValueError(f"{path.name} has not a count of each class for each client")
    figure = plot_classes_per_client(counts, content["classes"])
    for image in figure.findobj(AxesImage):
        image.set_interpolation("none")  # one pixel for each cell: the browser enlarges it, sharp
    for number in figure.axes[0].texts:
        number.set_in_layout(False)  # inside its cell anyway, and hundreds of them take seconds to lay out
    return inline_svg(figure, "classes", "training samples of each class at each client", growth=1.0)


def _defences(told: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return each defence with its options, what they guarantee together, and that in figures; None without any."""
    if not told:
        return None
    options = [{name: value for name, value in part.items() if name != "name"} for part in told["parts"]]
    written_options = [", ".join(f"{name} = {written(value)}" for name, value in one.items()) for one in options]
    figures, guarantee = [], told.get("guarantee")
    if guarantee:
        figures = [
            ("ε of one release", numbers.decimal(guarantee["epsilon_per_release"])),
            (f"ε of all {_many(guarantee['releases'], 'release')}", numbers.decimal(guarantee["epsilon"])),
            ("δ", f"{guarantee['delta']:g}"),
            ("Accountant", guarantee["accountant"]),
        ]
    names = [part["name"] for part in told["parts"]]
    rows = [*zip(names, written_options, strict=True), *figures]
    return {"rows": rows, "statement": told["statement"]}


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    test = summary.get("test", {})
    facts = [
        ("Test loss", numbers.decimal(test["loss"]) if "loss" in test else None),
        ("Tested weights", f"of epoch {test['epoch']}" if "epoch" in test else None),
        ("Engine", summary.get("engine")),
        ("Device", summary.get("device")),
        ("Weights of client and server segment", _parameters(summary.get("parameters"))),
        ("Clients' cuts, weights, bytes of a sample", _cuts(summary.get("cuts"))),
        ("Time with evaluation", numbers.duration(summary["seconds"]) if "seconds" in summary else None),
        ("SHA-256 of the final weights", summary.get("weights_sha256")),
    ]
    return [(name, str(value)) for name, value in facts if value is not None]


def _cuts(cuts: Sequence[Mapping[str, Any]] | None) -> str | None:
    """Tell of each cut how many clients have it, and what one of them holds and sends; None with one cut for all."""
    if not cuts:
        return None
    told = [
        f"{_many(len(each['clients']), 'client')} behind {each['cut']}: {each['weights']:,} weights, "
        f"{numbers.size(each['bytes_per_sample'])}"
        for each in cuts
    ]
    return "; ".join(told)


def _parameters(parameters: Mapping[str, int] | None) -> str | None:
    return f"{parameters['client']:,} and {parameters['server']:,}" if parameters else None


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
