"""The merge rule that the settings name; it is refused where it would have no effect."""

from __future__ import annotations

from sglr.core.errors import UsageError
from sglr.core.merging import MergeRule
from sglr.core.method import Method
from sglr.core.random import generator
from sglr.core.registry import MERGE_RULES
from sglr.runs.config import Experiment

USUAL = "mean"


def merge_rule_of(experiment: Experiment, method: Method) -> MergeRule:
    """Return the rule with its parameters.

    Raises
    ------
    UsageError
        If a parameter is out of range, the method averages no weights, or it averages those of too few clients.
    """
    rule: MergeRule = MERGE_RULES.load(experiment.merge_rule)(**experiment.merge_rule_parameters)
    if experiment.merge_rule != USUAL:
        _check_enough(experiment, rule, _fewest_merged(experiment, method))
    return rule


def _fewest_merged(experiment: Experiment, method: Method) -> int:
    """Return the fewest clients that are merged at a time, by the settings; refuse a method that merges none."""
    problem = ""
    at_work = max(1, round(experiment.participation * experiment.clients))
    cohorts = method.cohorts(tuple(range(at_work)), generator(experiment.seed, "cohorts", 0))
    if not method.shares:
        problem = f"method {experiment.method} merges no weights of clients"
    elif len(cohorts) == at_work > 1:
        problem = f"method {experiment.method} passes weights from client to client and averages none"
    if problem:
        remedy = "leave it out, or choose a method that averages weights of clients, such as sfl or fl"
        raise UsageError("merge_rule", experiment.merge_rule, problem, remedy)
    return min(map(len, cohorts))


def _check_enough(experiment: Experiment, rule: MergeRule, merged: int) -> None:
    needs = f"{experiment.merge_rule} needs {rule.fewest}"
    remedy = f"give {rule.fewest} or more, or choose another merge_rule"
    if merged < rule.fewest:
        problem = f"{merged} of them are merged at a time, and {needs}"
        raise UsageError("clients", experiment.clients, problem, remedy)
    least = experiment.min_clients
    if least is not None and least < rule.fewest:
        raise UsageError("min_clients", least, needs, remedy)
