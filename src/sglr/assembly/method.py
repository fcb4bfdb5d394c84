"""The method that the settings name, at the point of the axes that they choose."""

from __future__ import annotations

from sglr.core.method import Method
from sglr.core.registry import METHODS
from sglr.runs.config import Experiment


def build_method(experiment: Experiment, given: Method | None = None) -> Method:
    """Return the method that the settings name, or the one given, with segments merged when the settings say.

    Raises
    ------
    UsageError
        If a parameter is out of range, or the method can't be merged so.
    """
    method = given or METHODS.load(experiment.method)(**experiment.method_parameters)
    return method if experiment.merge is None else method.merging(experiment.merge)
