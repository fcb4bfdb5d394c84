"""``sglr plan --advise``: which method to take, with the rows of the study that speak for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sglr.planner.plan import CostPlan
    from sglr.planner.several_cuts import PlanOfCuts


def show_advice(
    found: CostPlan | PlanOfCuts | None, model: str | None, skew: str | None, share: bool | None, *, as_json: bool
) -> None:
    """Print what to take.

    Parameters
    ----------
    found
        The plan of the user's sizes; None where there are none. Where it is of several cuts, methods that have none are
        not advised.
    model
        The user's model, or None.
    skew
        How clients' data differ, or None.
    share
        Whether client weights may be shared; None answers for both.
    as_json
        Whether to print JSON, beside the plan's.
    """
    from rich.console import Console

    from sglr.core.cuts.fit import why_not_several
    from sglr.core.registry import METHODS
    from sglr.planner.recommendation import recommend
    from sglr.planner.recommendation_words import basis, rows, sentences
    from sglr.planner.several_cuts import PlanOfCuts
    from sglr.planner.study import Study

    study, several = Study.read(), isinstance(found, PlanOfCuts)
    if several:
        study = study.of_methods(lambda name: not why_not_several(METHODS.load(name)))
    wanted = {None: ("kept", "shared"), True: ("shared",), False: ("kept",)}[share]
    advised = [recommend(study, allows, skew=skew, model=model) for allows in wanted]
    words = [*sentences(advised, study, found), basis(study, skew, model)]
    if several:
        words.append("Advised are methods that clients who are cut at different places can train with.")
    if as_json:
        plan: dict[str, Any] = {} if found is None else found.record()
        print(
            json.dumps(
                plan | {"recommendations": [one.record() for one in advised], "words": {"recommendation": words}},
                indent=2,
            )
        )
        return
    console = Console(highlight=False)
    for sentence in words:
        console.print(sentence, markup=False)
    for method in dict.fromkeys(one.method for one in advised):
        one = next(each for each in advised if each.method == method)
        console.print(f"\n[bold]{one.method} in the study[/bold]")
        for line in rows(one, study):
            console.print(line, markup=False)
