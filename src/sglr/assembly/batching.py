"""The batching rule that the settings name; it is refused where it would have no effect or can't be kept."""

from __future__ import annotations

from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.random import generator
from sglr.data.batch_rule import GLOBAL, PROPORTIONAL, BatchRule
from sglr.runs.config import Experiment


def batch_rule_of(experiment: Experiment, method: Method) -> BatchRule:
    """Return the rule.

    Raises
    ------
    UsageError
        If the setting can't be read, or contradicts the method or another setting.
    """
    rule = BatchRule.parse(experiment.batching)
    if not rule.of_cohort:
        return rule
    name = experiment.batching
    if method.whole_model or method.pooled:
        problem = f"clients of method {experiment.method} take no steps together whose batches could be shared out"
        raise UsageError("batching", name, problem, "leave it out, or choose a method that splits the model")
    if experiment.short_clients == "cycle":
        problem = f"batching {rule.name} uses no sample twice in an epoch"
        raise UsageError("short_clients", "cycle", problem, "leave out one of them")
    if experiment.accumulate > 1:
        problem = f"a client's update is on the mean of its own steps, whose batches batching {rule.name} makes unequal"
        remedy = "give a larger B instead"
        if not rule.unequal:
            problem = f"with batching {rule.name} one client is in many of so many steps, and another in none"
            remedy = "give a larger --batch-size instead"
        raise UsageError("accumulate", experiment.accumulate, problem, remedy)
    if experiment.pipelining:
        problem = f"with batching {rule.name} the server tells each client its next batch when a step is over"
        raise UsageError("pipelining", experiment.pipelining, problem, "leave out one of them")
    if experiment.compile and rule.name == GLOBAL:
        problem = "batches of batching global have other sizes in every step, and each size would be compiled anew"
        raise UsageError("compile", True, problem, f"leave out one of them, or give --batching {PROPORTIONAL}")
    return rule


def check_least(experiment: Experiment, method: Method, rule: BatchRule, least: int) -> None:
    """Refuse a rule that can't give every batch its fewest samples.

    Raises
    ------
    UsageError
        If a segment can't train on one sample (``least`` is 2), and the rule draws single ones, or B is too small for
        two of each client.
    """
    if least == 1 or not rule.unequal:
        return
    why = "the model can't train on a single sample (batch statistics)"
    if rule.name == GLOBAL:
        problem = f"a client may have one sample in a step, and {why}"
        remedy = f"give --batching {PROPORTIONAL}, or a model that normalises otherwise"
        raise UsageError("batching", experiment.batching, problem, remedy)
    clients = _most_together(experiment, method)
    if rule.together is not None and rule.together < least * clients:
        problem = f"{clients} clients step together, each with {least} samples at least, since {why}"
        remedy = f"give {PROPORTIONAL}:{least * clients} or more, or a model that normalises otherwise"
        raise UsageError("batching", experiment.batching, problem, remedy)


def _most_together(experiment: Experiment, method: Method) -> int:
    """Return the most clients that step together."""
    at_work = max(1, round(experiment.participation * experiment.clients))
    cohorts = method.cohorts(tuple(range(at_work)), generator(experiment.seed, "cohorts", 0))
    return max(map(len, cohorts))
