"""A recommendation in words, with the rows that speak for it."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan, nan
from statistics import fmean
from typing import TYPE_CHECKING

from sglr.planner.recommendation import Evidence, Recommendation
from sglr.planner.study import Study
from sglr.report.numbers import clock, size

if TYPE_CHECKING:
    from sglr.planner.plan import CostPlan
    from sglr.planner.several_cuts import PlanOfCuts

LIMITS = (
    "Of a study of small trainings, untuned (docs/results/which-method.md): try it on validation data of your own "
    "beside one other, with sglr compare."
)

ALIKE = 0.01
"""How far from 1 the ratio of what two methods send may be where they send the same, but for labels and the like."""


def sentences(recommendations: Sequence[Recommendation], study: Study, plan: CostPlan | PlanOfCuts | None) -> list[str]:
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


def _worth(kept: Recommendation, every: Recommendation) -> str:
    if kept.method == every.method:
        return "Nothing that shares client weights does better there: let them stay."
    theirs = {(one.row.data, one.row.division): one.row.accuracy for one in every.evidence}
    pairs = [(theirs.get((each.row.data, each.row.division)), each.row.accuracy) for each in kept.evidence]
    gained = [shared - own for shared, own in pairs if shared is not None]
    if not gained:
        return "No row has both."
    spread = f" ({min(gained):+.1f} to {max(gained):+.1f})" if len(gained) > 1 else ""
    return f"To share them is worth {fmean(gained):+.1f} points there{spread}."


def _sends(one: Recommendation, study: Study, plan: CostPlan | PlanOfCuts | None) -> str:
    """Say what a method sends: over the user's links where it sends what a method of the plan does."""
    ratios = {name: _ratio(one, study, name) for name in ("psl", "sfl", "fl")}
    like = min(ratios, key=lambda name: inf if isnan(ratios[name]) else abs(ratios[name] - 1))
    if plan is None or not abs(ratios[like] - 1) <= ALIKE:
        ratio = ratios["psl"]
        much = "as much as" if abs(ratio - 1) <= ALIKE else f"{ratio:.2g} times what"
        return f"{one.method} sent {much} psl did there."
    cost = plan.over_links(like)
    sent = f"{size(cost.total_mb * 1e6)} per epoch: {clock(cost.seconds)} over your links"
    return f"{one.method} sends what {like} does, {sent}."


def _ratio(one: Recommendation, study: Study, other: str) -> float:
    """Return what a method sent, divided by what another did on the same rows; nan where it has none."""
    sent = {(row.data, row.division): row.sent_mb for row in study.rows if row.method == other}
    pairs = [(each.row.sent_mb, sent.get((each.row.data, each.row.division), nan)) for each in one.evidence]
    return fmean(own / theirs for own, theirs in pairs)


def rows(one: Recommendation, study: Study) -> list[str]:
    """Tell the rows that speak for a method, a line each."""
    return [
        f"{study.data[each.row.data]['title']}, {each.row.division}: {_row(each, one.method)}" for each in one.evidence
    ]


def _row(each: Evidence, method: str) -> str:
    spread = "" if each.row.sd is None else f" ± {each.row.sd:.1f}"
    seeds = f"{each.row.seeds} seed{'s' if each.row.seeds > 1 else ''}"
    own = f"{each.row.accuracy:.1f} %{spread} ({seeds})"
    if each.best.method == method:
        return f"{own}, the best allowed"
    return f"{own}; the best allowed has {each.best.accuracy:.1f} % ({each.best.method})"


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
