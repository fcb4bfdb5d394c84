"""Which label frequencies are taken out of the losses, where the settings leave it open."""

from __future__ import annotations

import torch

from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.task import Targets, Task
from sglr.runs.config import Experiment

PAIRS = ("pooled", "relative")
"""Priors that are others in the server's step than in what clients are told."""


def why_no_pair(experiment: Experiment, method: Method) -> tuple[str, str] | None:
    """Return why the server's step and what clients are told can't have priors of their own, and a remedy; or None."""
    if not method.joint:
        return (
            f"the server of method {experiment.method} takes no step on all clients together",
            "give --label-prior own, or choose a method such as psl, sglr or sfl",
        )
    if experiment.tail is not None:
        return (
            "labels stay with the clients (tail), and the server can't count them",
            "give --label-prior own, or leave out --tail",
        )
    if experiment.compile:
        return (
            "a compiled pass goes back once, and here it would twice (compile)",
            "leave out --compile, or give --label-prior own",
        )
    return None


def why_no_prior(task: Task, targets: Targets) -> str | None:
    """Return why no label frequencies can be taken out of a task's losses, or None."""
    if not targets.are_classes:
        return f"samples have no class ({targets.describe()})"
    added, outputs = task.prior_shift(torch.zeros(targets.classes)).shape, task.output_shape(targets)
    if added == outputs:
        return None
    what = f"{type(task).__name__.lower()} has outputs of the shape {list(outputs)} for {targets.classes} classes"
    return f"it is added to a logit of each class, and the task {what}"


def check_task(experiment: Experiment, task: Task, targets: Targets) -> None:
    """Refuse priors that the settings or the method name, for tasks whose losses they can't be taken out of."""
    if experiment.label_prior not in ("ignore", "auto") and (why := why_no_prior(task, targets)):
        raise UsageError("label_prior", experiment.label_prior, why, "give --label-prior ignore")


def label_prior_of(experiment: Experiment, method: Method, task: Task, targets: Targets) -> str:
    """Return what the settings say, or what ``"auto"`` comes to: ``"relative"`` where it can be, else ``"ignore"``."""
    if experiment.label_prior != "auto":
        return experiment.label_prior
    can = why_no_prior(task, targets) is None and why_no_pair(experiment, method) is None
    return "relative" if can else "ignore"
