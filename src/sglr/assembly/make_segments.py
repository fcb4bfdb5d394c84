"""Make the segments of a training: cut at one place, or each client's at its own."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sglr.assembly.checks import check_defences, check_head, check_served, check_tail
from sglr.assembly.cut_checks import check_cuts, with_resolved_cuts
from sglr.assembly.method import build_method
from sglr.assembly.segments import Segments
from sglr.assembly.several_segments import OneCut, SeveralSegments
from sglr.assembly.task import build_task
from sglr.core.data import ClientData
from sglr.core.method import Method
from sglr.core.task import Task
from sglr.core.weights import Weights
from sglr.parties.defences import DefenceChain, parse
from sglr.runs.config import Experiment


def make_segments(
    experiment: Experiment,
    data: ClientData,
    task: Task,
    model: nn.Module | Callable[..., nn.Module] | None,
    method: Method,
    defences: DefenceChain,
    frozen: Weights | None = None,
) -> Segments:
    """Return the segments; parameters and errors are those of `sglr.assembly.segments.Segments`."""
    parts = (data, task, model, method, defences, frozen)
    if experiment.cuts is None:
        return Segments(experiment, *parts)
    try:
        return SeveralSegments(experiment, *parts)
    except OneCut as found:  # under several names, or shares that are near to each other
        return Segments(experiment.model_copy(update={"cut": found.name, "cuts": None}), *parts)


def client_segments(
    experiment: Experiment, data: ClientData, model: nn.Module | Callable[..., nn.Module] | None = None
) -> Callable[[int], nn.Module]:
    """Return what gives a client's segment with its initial weights, for one who has only clients' parts to build.

    Raises
    ------
    UsageError
        If the model or the cut does not fit ``data``.
    """
    experiment = with_resolved_cuts(experiment)
    method, defences = build_method(experiment), parse(experiment.defence, experiment.seed)
    check_cuts(experiment, method)
    check_tail(experiment, method)
    check_head(experiment, method)
    check_defences(experiment, method, defences)
    task = build_task(experiment, data)
    check_served(task, data, defences)
    return make_segments(experiment, data, task, model, method, defences).lower_of
