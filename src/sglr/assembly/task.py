"""The task that the settings name, refused where the data's targets or other settings don't fit it."""

from __future__ import annotations

from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.registry import TASKS
from sglr.core.task import Targets, Task
from sglr.runs.config import USUAL_TASK, Experiment


def build_task(experiment: Experiment, data: ClientData, given: Task | None = None) -> Task:
    """Return the task with its parameters, and with what it takes from the data.

    Raises
    ------
    UsageError
        If the targets don't fit it.
    """
    task = given or named_task(experiment)
    task.check(data.targets)
    return task.fitted(data)


def named_task(experiment: Experiment) -> Task:
    """Return the task that the settings name."""
    task: Task = TASKS.load(task_name(experiment))(**experiment.task_parameters)
    return task


def task_name(experiment: Experiment) -> str:
    """Return the task's name, which ``auto`` stands for."""
    return USUAL_TASK if experiment.task == "auto" else experiment.task


def check_classes(experiment: Experiment, method: Method, targets: Targets) -> None:
    """Refuse settings that need a class of each sample, where samples have none."""
    if targets.are_classes:
        return
    problem = f"samples have no class ({targets.describe()})"
    if experiment.label_prior != "ignore":
        raise UsageError("label_prior", experiment.label_prior, problem, "leave it out")
    if method.needs_labels:
        raise UsageError("method", experiment.method, f"it reads classes, and {problem}", "give --average position")
