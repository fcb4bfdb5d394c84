"""Which label frequencies are taken out of the losses, where the settings leave it open."""

from __future__ import annotations

from sglr.core.method import Method
from sglr.core.task import Targets
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


def label_prior_of(experiment: Experiment, method: Method, targets: Targets) -> str:
    """Return what the settings say, or what ``"auto"`` comes to: ``"relative"`` where it can be, else ``"ignore"``."""
    if experiment.label_prior != "auto":
        return experiment.label_prior
    can = targets.are_classes and why_no_pair(experiment, method) is None
    return "relative" if can else "ignore"
