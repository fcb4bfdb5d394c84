"""The settings of an experiment whose parts are names or Python objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import nn

from sglr.assembly.parts import PartOverrides
from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.registry import METHODS, TASKS
from sglr.core.task import Task
from sglr.data.digest import entry_of
from sglr.data.objects.read import DataLike, settle_dataset
from sglr.runs.config import Experiment


def describe(
    method: str | Method,
    *,
    model: str | nn.Module | Callable[..., nn.Module] = "cnn",
    dataset: str | DataLike = "digits",
    task: str | Task = "auto",
    **settings: Any,
) -> tuple[Experiment, PartOverrides]:
    """Return the settings of an experiment whose parts are names or objects, and the objects."""
    flat = settle_dataset({**settings, **_named_task(task), "dataset": dataset})
    data = flat["dataset"]
    given = PartOverrides(
        method=method if isinstance(method, Method) else None,
        model=model if not isinstance(model, str) else None,
        dataset=data if isinstance(data, Dataset) else None,
        task=task if isinstance(task, Task) else None,
    )
    flat["method"] = method if isinstance(method, str) else _method_name(method)
    if given.method is not None and not flat["method"].startswith("<"):
        flat |= dataclasses.asdict(given.method)
    flat = {**(given.method.settings if given.method else {}), **flat}
    flat["model"] = model if isinstance(model, str) else f"<{getattr(model, '__name__', type(model).__name__)}>"
    flat["dataset"] = data if given.dataset is None else entry_of(given.dataset)
    experiment = Experiment.from_flat(flat)
    if isinstance(model, nn.Module) and experiment.init == "independent" and experiment.lora is None:
        problem = "a model that is given as a module has one set of weights, which all clients begin with"
        raise UsageError("init", "independent", problem, "leave it out, or give a function that builds the model")
    return experiment, given


def _named_task(task: str | Task) -> dict[str, Any]:
    """Return the settings of a task: its name and parameters, where its class is a registered one."""
    if isinstance(task, str):
        return {"task": task}
    name = next((name for name in TASKS.names() if TASKS.load(name) is type(task)), None)
    if name is None:
        return {"task": f"<{type(task).__name__}>"}
    return {"task": name, **{field.name: getattr(task, field.name) for field in dataclasses.fields(task)}}  # type: ignore[arg-type]


def _method_name(method: Method) -> str:
    for name in METHODS.names():
        if METHODS.load(name) is type(method):
            return name
    return f"<{type(method).__name__}>"
