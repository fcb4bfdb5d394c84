"""A cut by its share of the operations, such as ``40%``: read, and found in a model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.planner.cut_figures import CutFigures
from sglr.planner.figures_of_cuts import figures_of_cuts


def share_of(cut: str | int | None) -> float | None:
    """Return the share of a cut such as ``40%``, 0 to 1; None for a cut that is a place.

    Raises
    ------
    UsageError
        If it is no share between 0 and 100 %.
    """
    if not isinstance(cut, str) or not cut.endswith("%"):
        return None
    try:
        share = float(cut[:-1]) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError("cut", cut, "is no share of the operations", "give a number from 0 to 100, such as 40%")
    return share


def nearest_cut(model: nn.Module, share: float, example: Tensor) -> str:
    """Return the layer behind which the client's share of the operations is nearest to ``share``.

    Layers behind which one tensor crosses come before others; of those that are equally near, one that sends least.

    Raises
    ------
    UsageError
        If the model has no place to cut.
    """
    found = figures_of_cuts(model, example)
    if not found:
        problem = "the model has no layer to cut behind with weights on both sides"
        raise UsageError("cut", f"{share:.0%}", problem, "give a model with more layers")
    return nearest(found, share).layer


def nearest(cuts: Sequence[CutFigures], share: float) -> CutFigures:
    """Return the cut that `nearest_cut` names; masks and other integers beside a tensor do not count."""
    single = [cut for cut in cuts if sum(value.learned for value in cut.crosses) == 1] or cuts
    return min(single, key=lambda cut: (round(abs(cut.share - share), 9), cut.bytes))
