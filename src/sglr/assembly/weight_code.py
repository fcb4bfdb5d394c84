"""How weights are written on their way to be merged, from the settings."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sglr.compression.error_feedback import parse
from sglr.compression.weight_deltas import DeltaCode
from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.weights import trained_of
from sglr.runs.config import Experiment


def delta_code(experiment: Experiment, method: Method, segment: Callable[[], nn.Module]) -> DeltaCode | None:
    """Return the code of the trained weights of clients' segments; None if they are sent as they are.

    Raises
    ------
    UsageError
        If it is none, or nobody sends weights to be merged.
    """
    text = experiment.weight_compression
    if text == "none":
        return None
    try:
        codec = parse(text)
    except UsageError as error:
        raise UsageError("weight_compression", text, error.problem, error.remedy) from error
    if codec.each_way or codec.exact:
        problem = "weights that are shared again go down as they are: a code is for the way up alone"
        raise UsageError("weight_compression", text, problem, "give one code, such as int8")
    if not method.shares:
        problem = f"clients of method {experiment.method} send no weights to be merged"
        raise UsageError("weight_compression", text, problem, "leave it out, or choose a method that merges them")
    if experiment.cuts is not None:
        problem = "clients that are cut at different places hold different weights"
        raise UsageError("weight_compression", text, problem, "leave out one of them")
    return DeltaCode(codec, frozenset(trained_of(segment())))
