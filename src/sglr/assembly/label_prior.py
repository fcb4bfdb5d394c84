"""Which label frequencies are taken out of the losses, where the settings leave it open."""

from __future__ import annotations

from sglr.core.method import Method
from sglr.core.task import Targets
from sglr.runs.config import Experiment


def why_not_pooled(experiment: Experiment, method: Method) -> tuple[str, str] | None:
    """Return why the frequencies of all clients of a step can't be taken out of the server's, and a remedy; or None."""
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
    """Return ``"ignore"``, ``"own"`` or ``"pooled"``: what the settings say, or what ``"auto"`` comes to."""
    if experiment.label_prior != "auto":
        return experiment.label_prior
    if not targets.are_classes:
        return "ignore"
    return "pooled" if why_not_pooled(experiment, method) is None else "own"
