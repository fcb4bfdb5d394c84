"""Refuse what does not work where clients are cut at several places, before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sglr.adapters import Lora
from sglr.core.cuts.fit import why_not_several
from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.cost.clock_spec import read_clock
from sglr.runs.client_cuts import cuts_of_clients, told
from sglr.runs.config import Experiment

ENGINES = ("local", "remote")
"""Engines whose clients may be cut at several places."""


def with_resolved_cuts(experiment: Experiment) -> Experiment:
    """Return the settings with ranges of clients where ``cuts`` names devices, or ``cut`` where all have the same one.

    Raises
    ------
    UsageError
        If ``cuts`` can't be read, or is given beside ``cut``.
    """
    if experiment.cuts is None:
        return experiment
    if experiment.cut is not None:
        problem = f"cut = {experiment.cut} is given, too"
        raise UsageError("cuts", experiment.cuts, problem, "give one of them")
    own = cuts_of_clients(experiment.cuts, experiment.clients, partial(_devices, experiment))
    found = {"cut": own[0], "cuts": None} if len(set(own)) == 1 else {"cuts": told(own)}
    return experiment.model_copy(update=found)


def _devices(experiment: Experiment) -> Sequence[str] | None:
    """Return what device each client has; None without a clock."""
    clock, clients = experiment.clock, experiment.clients
    return None if clock is None else read_clock(clock, clients, experiment.seed).devices


def check_cuts(experiment: Experiment, method: Method) -> None:
    """Refuse methods and settings that have no meaning with several cuts, or are not built for them."""
    if experiment.cuts is None:
        return
    name, cuts, lora = experiment.method, experiment.cuts, Lora.parse(experiment.lora)
    if why := why_not_several(method):
        raise UsageError("cuts", cuts, f"method {name} {why}", "give one --cut, or choose a method such as sglr or sfl")
    refused = {
        "engine": (experiment.engine not in ENGINES, "its processes hold blocks of clients that are cut at one place"),
        "accumulate": (experiment.accumulate > 1, "a stage of the server may have no samples in a step"),
        "compile": (experiment.compile, "the server's stages have another number of samples in each step"),
        "pipelining": (experiment.pipelining, "clients of a cut may have no batch in a step that others compute ahead"),
        "client_store": (experiment.client_store == "disk", "clients of several cuts are kept in memory"),
        "lora": (lora is not None and lora.at != "both", "which layers are the clients' differs from client to client"),
    }
    for setting, (given, problem) in refused.items():
        if given:
            value = getattr(experiment, setting)
            raise UsageError(
                setting, value, f"{problem} (cuts = {cuts})", f"leave {_what(setting)} out, or give one --cut"
            )


def _what(setting: str) -> str:
    return "its at" if setting == "lora" else "it"


def check_store(experiment: Experiment, store: str) -> None:
    """Refuse clients of several cuts of which not all fit in memory."""
    if experiment.cuts is not None:
        problem = f"clients of several cuts are kept in memory, and would need {store} (cuts = {experiment.cuts})"
        remedy = "give --client-store memory if they do fit, fewer clients, or one --cut"
        raise UsageError("client_store", experiment.client_store, problem, remedy)
