"""Where clients that don't take part are stored: chosen by their number and size, and refused where it can't be."""

from __future__ import annotations

import logging
from functools import partial

import torch

from sglr.assembly.cut_checks import check_store
from sglr.assembly.segments import Segments
from sglr.client_store.capacity import MemoryBudget, bytes_of
from sglr.core.method import Method
from sglr.core.optim import OptimizerSpec
from sglr.core.plan import TrainingPlan
from sglr.core.random import generator
from sglr.runs.config import Experiment
from sglr.system.machine import memory_of

log = logging.getLogger(__name__)


def client_store_of(
    experiment: Experiment,
    method: Method,
    segments: Segments,
    plan: TrainingPlan,
    clients: int,
    optimizer: OptimizerSpec,
    device: torch.device,
) -> str:
    """Choose where clients that don't take part are stored, and refuse what does not fit in memory."""
    if experiment.engine == "remote":
        return "memory"  # on machines of their own
    at_work = plan.at_work(clients)
    cohorts = method.cohorts(tuple(range(at_work)), generator(experiment.seed, "cohorts", 0))
    size = partial(bytes_of, optimizer=optimizer, accumulates=experiment.accumulate > 1)
    each, memory = size(segments.ends()[-1].lower, ahead=experiment.pipelining), memory_of(device)
    crowd = MemoryBudget(clients, at_work, max(map(len, cohorts)), each, memory)
    if method.server_copies:
        crowd.require_copies(size(segments.upper), experiment.method)
    store = crowd.store(experiment.client_store)
    if store != "memory":
        check_store(experiment, store)
        log.warning(
            "clients that don't take part are kept on disk (client_store): %d of %d do in a round", at_work, clients
        )
    return store
