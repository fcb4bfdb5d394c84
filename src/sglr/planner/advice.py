"""What accuracy to expect: a rule of thumb from this project's own study (docs/results/when-sglr-wins.md)."""

from __future__ import annotations

import math

from sglr.planner.plan import SPLIT, CostPlan
from sglr.report.numbers import percent, size

SAFE_FACTOR = 8.0
"""The largest factor on the server's rate that cost nothing there in a training of usual length (Adam, 0.001)."""

NEARLY_ALL = 0.9
"""The share of the computation at the client from which averaging gained nothing there."""


def advice(plan: CostPlan) -> list[str]:
    """Say what the study found about accuracy, as far as it bears on this plan."""
    return [_split_lr(plan), _split_avg(plan), _sharing(plan), _limits()]


def suggested_alpha(clients: int) -> float:
    """Return the largest α, in tenths and at most 1, that keeps |C|^α at or below `SAFE_FACTOR`."""
    if clients <= SAFE_FACTOR:
        return 1.0
    return math.floor(10 * math.log(SAFE_FACTOR) / math.log(clients)) / 10


def _split_lr(plan: CostPlan) -> str:
    clients = plan.scenario.sizes.clients
    alpha = suggested_alpha(clients)
    return (
        f"SplitLr: start at α = {alpha:g} (the server's rate × {clients**alpha:.3g}). It gained 3 to 5 points where "
        "the server took few steps, and cost 2 to 3 where it took many; a rate × 20 cost 5."
    )


def _split_avg(plan: CostPlan) -> str:
    found = (
        "SplitAvg: gained 2 to 3 points with ResNet16, whose clients memorised their few samples; with a small "
        "CNN it gained nothing, and cost up to 3."
    )
    share = _client_share(plan)
    if share is None or share < NEARLY_ALL:
        return found
    return f"{found} Nor did it gain where clients do nearly all the work, as here ({percent(share)})."


def _sharing(plan: CostPlan) -> str:
    more = plan.methods["sfl"].views["point_to_point"].total_mb - plan.methods[SPLIT].views["point_to_point"].total_mb
    return (
        "SplitFed was more accurate than SGLR in every setting there, by up to 17 points; but clients began with "
        "weights of their own, as in the paper. Which method to take now: sglr plan --advise. To average weights "
        f"over separate links is {size(more * 1e6)} more per epoch here."
    )


def _limits() -> str:
    return "All on Fashion-MNIST, IID, 4 to 20 clients of 25 to 400 samples: try it on validation data of your own."


def _client_share(plan: CostPlan) -> float | None:
    split, whole = plan.methods[SPLIT].client_flops, plan.methods["fl"].client_flops
    return None if split is None or not whole else split / whole
