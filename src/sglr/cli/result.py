"""Print a finished run on standard output: its results and the next command, or its summary as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sglr.report.numbers import count, duration, percent, size
from sglr.report.score_style import ACCURACY, ScoreStyle, headline, style, test_score, validated

if TYPE_CHECKING:
    from rich.console import Console

    from sglr.runs.folder import Run


def print_result(run: Run, as_json: bool) -> None:
    """Print the results of a finished run."""
    summary = run.summary
    assert summary is not None, "only finished runs have a result"
    if as_json:
        print(json.dumps(summary, indent=2))
        return
    from rich.console import Console

    from sglr.cli.screens import facts

    console = Console(highlight=False)
    console.print(facts(method_title(summary["method"]), result_facts(summary)))
    warn_of_majority(console, summary)
    print_privacy(console, summary)
    console.print(f"run     {run.path}", soft_wrap=True, markup=False)
    console.print(f"report  {run.path / 'report.html'}", soft_wrap=True, markup=False)
    console.print(f"next    sglr show {run.path}", soft_wrap=True, markup=False)


def print_privacy(console: Console, summary: dict[str, Any]) -> None:
    """Print what a run's defences guarantee and what they do not."""
    defences = summary.get("defences")
    if defences:
        console.print(f"privacy {defences['statement']}", markup=False)


def method_title(method: dict[str, Any]) -> str:
    """Return a method with its parameters, such as ``sglr (alpha 0.5, phi 0.75)``."""
    parameters = ", ".join(f"{name} {value}" for name, value in method.items() if name != "name")
    return f"{method['name']} ({parameters})" if parameters else str(method["name"])


def result_facts(summary: dict[str, Any]) -> dict[str, str]:
    """Return the figures of a summary, formatted."""
    test, validation, traffic = summary["test"], summary["validation"], summary["communication"]
    score = headline(test)
    found = test_score(test, score.name)
    interval = score.interval(found["low"], found["high"])
    told = (
        score.write(found["mean"]),
        _spread(found["std_over_clients"], score, summary),
        _majority(test),
    )
    facts = {f"test {score.title}": " ".join(filter(None, told))}
    facts |= ({"95 % interval": interval} if interval else {}) | _further(test, score)
    if test.get("balanced_accuracy") is not None:
        facts["balanced"] = f"{percent(test['balanced_accuracy'])} (mean recall of classes)"
    if (best := validated(validation, score)) is not None:
        chosen, value, epoch = best
        name = "validation" if chosen == score else f"validation {chosen.title}"
        facts[name] = f"{chosen.write(value)} (best, epoch {epoch} of {summary['epochs']})"
    if summary.get("stopped"):
        facts["stopped"] = f"after epoch {summary['epochs_done']} of {summary['epochs']}: {summary['stopped']}"
    return facts | {
        "sent up, down": f"{size(traffic['up_bytes'])}, {size(traffic['down_bytes'])}",
        "time": f"{duration(summary['seconds'])}, {count(summary['samples_per_second'])} samples/s in training",
    }


def warn_of_majority(console: Console, summary: Mapping[str, Any]) -> None:
    """Warn if the model is not better than always predicting the most frequent class."""
    test = summary["test"]
    share, balanced = test.get("majority_share"), test.get("balanced_accuracy")
    if share is not None and "accuracy" in test and test["accuracy"] <= share + 1e-9:  # means over clients are rounded
        told = f"test accuracy {percent(test['accuracy'])} does not exceed the majority class's share of the samples"
        console.print(f"warning {told}: look at balanced accuracy ({percent(balanced)})", markup=False)


def _majority(test: Mapping[str, Any]) -> str:
    share = test.get("majority_share")
    return "" if share is None else f"(majority class {percent(share)})"


def _further(test: Mapping[str, Any], score: ScoreStyle) -> dict[str, str]:
    """Return the other scores of a task; those of a classification are told as they always were."""
    if score.name == ACCURACY:
        return {}
    others = [name for name in test.get("scores") or {} if name != score.name]
    styles = [style(name, unit=score.unit) for name in others]
    return {one.title: one.write(test_score(test, one.name)["mean"]) for one in styles}


def _spread(spread: float | None, score: ScoreStyle, summary: dict[str, Any]) -> str:
    """Write the spread over clients; their number where all were scored."""
    scored = len(summary["test"].get("per_client", {}).get(score.name) or ())
    number = f"{scored} " if scored == summary["clients"] else ""
    return f"{score.spread(spread)} over {number}clients" if spread else ""
