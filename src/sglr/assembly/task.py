"""The task that the settings name, refused where the data's targets or other settings don't fit it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.model import called, own_function
from sglr.core.registry import TASKS
from sglr.core.spec import problem_of
from sglr.core.task import Targets, Task
from sglr.metrics.with_metrics import WithMetrics
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
    if isinstance(task, WithMetrics):
        task.check_metrics(data.targets, experiment.folder_naming("metrics"))
    return task.fitted(data)


def given_task(experiment: Experiment, given: str | Task | None) -> Task | None:
    """Return the task that a user gives for a run: an object, or the name of the run's own, which is trusted then.

    Raises
    ------
    UsageError
        If it is another name than the run's.
    """
    if not isinstance(given, str):
        return given
    experiment.require("task", given)
    return _own(given, None) if ":" in given else None


def recorded_task(experiment: Experiment, parameters: Mapping[str, Any], given: Task | None) -> Task:
    """Return the task of a run, with the parameters that were found from its data, and without metrics of own code.

    Raises
    ------
    UsageError
        If it was given as an object and is not given again, or the parameters are none of it.
    """
    task = given or named_task(experiment)
    if isinstance(task, WithMetrics):  # a trained network is used without them
        named = [name for name in task.metrics if ":" not in name]
        task = dataclasses.replace(task, metrics=tuple(named))
        parameters = {**parameters, "metrics": named} if parameters else parameters
    if not parameters or not dataclasses.is_dataclass(task):
        return task
    try:
        fitted: Task = TypeAdapter(type(task)).validate_python(dict(parameters))
    except ValidationError as error:
        problem = f"is damaged (task: {problem_of(error)})"
        raise UsageError("data.json", "of this run", problem, "restore that file") from error
    return fitted


def named_task(experiment: Experiment) -> Task:
    """Return the task that the settings name.

    Raises
    ------
    UsageError
        If it was given as an object, or is code of the user's own that can't be used.
    """
    if experiment.task.startswith("<"):
        remedy = "give it again, in Python: task=..."
        raise UsageError("task", experiment.task, "was given as a Python object, which settings don't hold", remedy)
    if ":" in experiment.task:
        return _own(experiment.task, experiment.folder_naming("task"))
    task: Task = TASKS.load(task_name(experiment))(**experiment.task_parameters)
    return task


def _own(spec: str, folder: Path | None) -> Task:
    """Return what the user's own class or function without arguments makes."""
    make = own_function("task", spec, folder)
    if folder is not None and not (isinstance(make, type) and issubclass(make, Task)):
        problem = "the run's folder names this function, which is no subclass of sglr.Task"
        raise UsageError("task", spec, problem, f"if you trust it, name it yourself: --task {spec}")
    task = called("task", spec, make, "it")
    if not isinstance(task, Task):
        problem = f"it makes a {type(task).__name__}, not an sglr.Task"
        raise UsageError("task", spec, problem, "name a subclass of sglr.Task, or a function that returns a task")
    return task


def plain(task: Task) -> dict[str, Any]:
    """Return a task's parameters."""
    return dataclasses.asdict(task) if dataclasses.is_dataclass(task) else {}


def task_name(experiment: Experiment) -> str:
    """Return the task's name, which ``auto`` stands for."""
    return USUAL_TASK if experiment.task == "auto" else experiment.task


def check_classes(experiment: Experiment, method: Method, targets: Targets) -> None:
    """Refuse a method that reads the class of each sample, where samples have none."""
    if method.needs_classes and not targets.are_classes:
        problem = f"it reads classes, and samples have no class ({targets.describe()})"
        remedy = "give --average position" if hasattr(method, "average") else "choose another method"
        raise UsageError("method", experiment.method, problem, remedy)
