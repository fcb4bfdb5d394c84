"""The method that the settings name."""

from __future__ import annotations

from sglr.core.method import Method
from sglr.core.registry import METHODS
from sglr.runs.config import Experiment


def build_method(experiment: Experiment) -> Method:
    """Return the method that the settings name, with its parameters."""
    method: Method = METHODS.load(experiment.method)(**experiment.method_parameters)
    return method
