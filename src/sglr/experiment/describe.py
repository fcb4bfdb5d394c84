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
from sglr.core.registry import METHODS
from sglr.data.digest import entry_of
from sglr.data.objects.read import DataLike, settle_dataset
from sglr.runs.config import Experiment


def describe(
    method: str | Method,
    *,
    model: str | nn.Module | Callable[..., nn.Module] = "cnn",
    dataset: str | DataLike = "digits",
    **settings: Any,
) -> tuple[Experiment, PartOverrides]:
    """Return the settings of an experiment whose parts are names or objects, and the objects."""
    flat = settle_dataset({**settings, "dataset": dataset})
    data = flat["dataset"]
    given = PartOverrides(
        method=method if isinstance(method, Method) else None,
        model=model if not isinstance(model, str) else None,
        dataset=data if isinstance(data, Dataset) else None,
    )
    flat["method"] = method if isinstance(method, str) else _method_name(method)
    if given.method is not None and not flat["method"].startswith("<"):
        flat |= dataclasses.asdict(given.method)
    flat["model"] = model if isinstance(model, str) else f"<{getattr(model, '__name__', type(model).__name__)}>"
    flat["dataset"] = data if given.dataset is None else entry_of(given.dataset)
    experiment = Experiment.from_flat(flat)
    if isinstance(model, nn.Module) and experiment.init == "independent":
        problem = "a model that is given as a module has one set of weights, which all clients begin with"
        raise UsageError("init", "independent", problem, "leave it out, or give a function that builds the model")
    return experiment, given


def _method_name(method: Method) -> str:
    for name in METHODS.names():
        if METHODS.load(name) is type(method):
            return name
    return f"<{type(method).__name__}>"
