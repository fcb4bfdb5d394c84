"""A recommendation in words and as a table of the rows that speak for it."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from statistics import fmean
from typing import TYPE_CHECKING

from sglr.planner.recommendation import Recommendation
from sglr.planner.study import Study
from sglr.planner.words import clock
from sglr.report.numbers import NONE, size

if TYPE_CHECKING:
    from sglr.planner.plan import CostPlan

LIMITS = (
    "Of a study of small trainings, untuned (docs/results/which-method.md): try it on validation data of your own "
    "beside one other, with sglr compare."
)

ALIKE = (0.99, 1.0, 1.01)
"""Ratios of what two methods send at which they send the same, but for labels and the like."""

HEADINGS = ("data", "division", "accuracy", "seeds", "best allowed there", "its accuracy", "sent")


def sentences(recommendations: Sequence[Recommendation], study: Study, plan: CostPlan | None) -> list[str]:
    """Say what to take, with its command, and what it costs; ``plan`` is that of the user's sizes."""
    said = [line for one in recommendations for line in _take(one)]
    if len(recommendations) == 2:
        said.append(_worth(*recommendations))
    said += [_sends(one, study, plan) for one in {each.method: each for each in recommendations}.values()]
    return [*said, LIMITS]


def _take(one: Recommendation) -> list[str]:
    where = "Where client weights must stay" if one.allows == "kept" else "Where client weights may be shared"
    number = len(one.evidence)
    below = f"{one.behind:.1f} points below the best allowed on average, and at most {one.most_behind:.1f}"
    found = below if one.most_behind > 0 else "the best allowed"
    rows = f"On {number} rows" if number > 1 else "On one row"
    return [f"{where}: {one.command}", f"{rows} of the study it is {found}."]


def _worth(kept: Recommendation, shared: Recommendation) -> str:
    if kept.method == shared.method:
        return "Nothing that shares client weights does better there: let them stay."
    theirs = {(one.row.data, one.row.division): one.row.accuracy for one in shared.evidence}
    gained = [theirs[each.row.data, each.row.division] - each.row.accuracy for each in kept.evidence]
    spread = f" ({min(gained):+.1f} to {max(gained):+.1f})" if len(gained) > 1 else ""
    return f"To share them is worth {fmean(gained):+.1f} points there{spread}."


def _sends(one: Recommendation, study: Study, plan: CostPlan | None) -> str:
    """Say what a method sends: over the user's links where it sends what a method of the plan does."""
    like = next((name for name in ("psl", "sfl", "fl") if _ratio(one, study, name) in ALIKE), None)
    if plan is None or like is None:
        ratio = _ratio(one, study, "psl")
        return f"{one.method} sent {'as much as' if ratio in ALIKE else f'{ratio:.2g} times what'} psl did there."
    cost = plan.methods[like].views["point_to_point"]
    sent = f"{size(cost.total_mb * 1e6)} per epoch: {clock(cost.seconds)} over your links"
    return f"{one.method} sends what {like} does, {sent}."


def _ratio(one: Recommendation, study: Study, other: str) -> float:
    """Return what a method sent, divided by what another did on the same rows, to two digits; nan where it has none."""
    sent = {(row.data, row.division): row.sent_mb for row in study.rows if row.method == other}
    pairs = [(each.row.sent_mb, sent.get((each.row.data, each.row.division), nan)) for each in one.evidence]
    return round(fmean(own / theirs for own, theirs in pairs), 2)


def table(one: Recommendation, study: Study) -> list[list[str]]:
    """Return the rows that speak for a method, in the columns of `HEADINGS`."""
    return [
        [
            str(study.data[each.row.data]["title"]),
            each.row.division,
            f"{each.row.accuracy:.1f} %" + ("" if each.row.sd is None else f" ± {each.row.sd:.1f}"),
            str(each.row.seeds),
            each.best.method if each.best.method != one.method else NONE,
            f"{each.best.accuracy:.1f} %" if each.best.method != one.method else NONE,
            size(each.row.sent_mb * 1e6),
        ]
        for each in one.evidence
    ]


def basis(study: Study, skew: str | None, model: str | None) -> str:
    """Say what rows bear on the question."""
    data = study.of_model(model)
    names = ", ".join(str(study.data[name]["title"]) for name in data)
    other = model is not None and all(study.data[name]["model"] != model for name in data)
    which = f"the study has none with {model}, so those of" if other else "those of"
    if skew is None:
        return f"Rows: {which} {names}, in all divisions, since --skew is not given."
    nearest = study.nearest(skew)
    instead = "" if nearest == skew.replace(":", "-") else f", the nearest to {skew}"
    return f"Rows: {which} {names}, in the division {nearest}{instead}."
