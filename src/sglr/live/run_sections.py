"""Parts of what the page shows of a run, from what its files hold; all figures are finite or None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sglr.live.plain_values import mapping, number, rounded, text
from sglr.live.run_state import RunState
from sglr.report.score_style import OVER_CLIENTS, ScoreStyle, test_score


def style_section(score: ScoreStyle) -> dict[str, Any]:
    """Return how the headline score is named and written, and what it is called in an epoch's record."""
    return {
        "name": score.name,
        "title": text(score.title, 60),
        "heading": text(score.heading, 60),
        "share": score.is_share,
        "unit": text(score.shown_unit, 20),
        "higher": score.higher_is_better,
        "validation": score.validation,
        "training": score.training,
        "spread": f"{score.validation}{OVER_CLIENTS}",
    }


def progress_section(progress: Mapping[str, Any], status: Mapping[str, Any], state: RunState) -> dict[str, Any]:
    """Return epoch, step and speed; of a server between sites from its status, if it told nothing else."""
    source = progress if progress.get("epoch") else status
    names = ("epoch", "epochs", "step", "steps", "samples_per_second")
    found = {name: number(source.get(name)) for name in names}
    if not state.running or state.name == "waiting":
        found["samples_per_second"] = None
    return {name: None if value is None else rounded(value) for name, value in found.items()}


def cost_section(
    summary: Mapping[str, Any], progress: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return bytes, seconds and joules up to now; of the energy that was measured or, at the end, modelled."""
    sent, last = mapping(summary.get("communication")), records[-1] if records else {}
    energy = mapping(summary.get("energy"))
    measured = number(mapping(energy.get("measured")).get("joules"))
    found = {
        name: next((n for one in (sent, progress, last) if (n := number(one.get(name))) is not None), None)
        for name in ("up_bytes", "down_bytes")
    }
    seconds = next((n for one in (summary, progress, last) if (n := number(one.get("seconds"))) is not None), None)
    return {
        **found,
        "seconds": None if seconds is None else round(seconds, 1),
        "joules": measured if measured is not None else number(progress.get("joules")),
        "modelled_joules": number(mapping(energy.get("modelled")).get("total_joules")),
    }


def test_section(test: Mapping[str, Any], score: ScoreStyle) -> dict[str, Any] | None:
    """Return the test's figures; None before the test."""
    if not test:
        return None
    found = test_score(test, score.name)
    told = {name: number(found.get(name)) for name in ("mean", "low", "high", "std_over_clients")}
    return {**told, "epoch": number(test.get("epoch")), "loss": number(test.get("loss"))}


def latest_score(sections: Mapping[str, Any]) -> float | int | None:
    """Return the test's score, or else that of the last epoch that has one."""
    if sections["test"] is not None and sections["test"]["mean"] is not None:
        return rounded(sections["test"]["mean"])
    name = sections["score"]["validation"]
    found = (one[name] for one in reversed(sections["history"]) if name in one)
    return next(found, None)
