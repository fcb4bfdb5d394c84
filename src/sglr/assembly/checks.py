"""Refuse settings that do not fit together, before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from sglr.assembly.label_prior import PAIRS, why_no_pair
from sglr.client_store.capacity import gigabytes
from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.plan import TrainingPlan
from sglr.core.random import generator
from sglr.core.task import Task
from sglr.core.types import Extent
from sglr.data.batches import Batching
from sglr.parties.defences import DefenceChain
from sglr.runs.config import FACTS, Experiment
from sglr.splitting import Crossing
from sglr.splitting import check_head as read_head
from sglr.system.extras import require
from sglr.system.machine import memory_of

if TYPE_CHECKING:  # a client checks its segment, and has no use for the training loop
    from sglr.assembly.parts import PartOverrides


def check_defences(experiment: Experiment, method: Method, defences: DefenceChain) -> None:
    """Refuse defences that would have no effect, or do not work with the method or one another."""
    if defences.parts and method.whole_model:
        problem = f"method {experiment.method} sends weights, and nothing crosses a cut"
        remedy = "leave it out, or choose a method that splits the model"
        raise UsageError("defence", experiment.defence, problem, remedy)
    if defences.privatizes_gradient and not method.answered:
        problem = f"the server of method {experiment.method} sends no gradients that it could change"
        raise UsageError("defence", experiment.defence, problem, "leave it out, or choose another method")
    for part in defences.parts:
        part.check(method, defences.named)


def check_served(task: Task, data: ClientData, defences: DefenceChain) -> None:
    """Refuse defences that do not serve the task, by name."""
    for name, part in defences.named:
        part.serves.require("defence", name, task, data.targets.example())


def check_place(experiment: Experiment, given: PartOverrides, data: ClientData) -> None:
    """Refuse data that are at other sites, unless the engine is given that has clients there."""
    if not len(data.train) and given.engine is None:
        problem = "these data are at the sites that join; there are none here to train on"
        raise UsageError("dataset", experiment.dataset, problem, "start a server: sglr serve SETTINGS.toml")


def check_pipelining(experiment: Experiment, method: Method) -> None:
    """Refuse pipelining for methods that have nothing to compute ahead, and what has no effect without it."""
    depth = experiment.pipelining
    if depth and method.whole_model:
        problem = f"method {experiment.method} has nothing to compute ahead: its clients send no smashed data"
        raise UsageError("pipelining", depth, problem, "leave it out, or choose a method that splits the model")
    if depth and method.merges_inside_epoch:
        problem = (
            f"method {experiment.method} merges clients' weights within an epoch, and a pass ahead would miss them"
        )
        raise UsageError("pipelining", depth, problem, "leave it out, or merge after each epoch alone")
    if experiment.delay_compensation and not depth:
        problem = "gradients are of the weights that are stepped from: there is no delay to compensate"
        remedy = "leave it out, or give --pipelining"
        raise UsageError("delay_compensation", experiment.delay_compensation, problem, remedy)


def check_link(experiment: Experiment) -> None:
    """Refuse links that no network has, and those of clients that do not exist."""
    if experiment.engine == "remote":
        from sglr.engines.remote.link.link import read_links

        read_links(experiment.link, experiment.clients)


def check_accumulation(experiment: Experiment, method: Method) -> None:
    """Refuse to average gradients of several steps for methods whose server is updated several times in a step."""
    if experiment.accumulate > 1 and not method.accumulates:
        problem = f"the server of method {experiment.method} is updated for one client after another in a step"
        raise UsageError("accumulate", experiment.accumulate, problem, "leave it out, or choose another method")


def check_memory(experiment: Experiment, method: Method, extent: Extent, device: torch.device) -> None:
    """Refuse a method that keeps more between steps than the device's memory holds."""
    needed, memory = method.memory_bytes(extent), memory_of(device)
    if needed > memory:
        problem = f"it keeps {needed} bytes ({gigabytes(needed)}) between steps, of {gigabytes(memory)} of memory"
        remedy = (
            f"give a smaller buffer, a smaller cut (each sample has {extent.values} numbers there), or fewer clients"
        )
        raise UsageError("method", experiment.method, problem, remedy)


def check_mixing(experiment: Experiment, method: Method, crossing: Crossing | None) -> None:
    """Refuse a method that mixes samples where masks or numbers of tokens cross: half of each is none."""
    if method.mixes and crossing is not None and crossing.beside:
        told = ", ".join(map(str, crossing.beside))
        problem = f"it mixes what samples have at the cut, which is undefined for {told}"
        raise UsageError("method", experiment.method, problem, "choose another method, or another cut")


def check_compile(experiment: Experiment, method: Method) -> None:
    """Refuse to compile passes of which nearly each has another size."""
    if experiment.compile and method.any_size:
        problem = f"the server of method {experiment.method} steps on batches of many sizes, each compiled anew"
        raise UsageError("compile", True, problem, "leave it out, or choose another method")


def check_label_prior(experiment: Experiment, method: Method) -> None:
    """Refuse priors that speak of all clients where the server's step is not on all of them, or has no labels."""
    if experiment.label_prior in PAIRS and (why := why_no_pair(experiment, method)):
        raise UsageError("label_prior", experiment.label_prior, *why)


def check_installed(experiment: Experiment) -> None:
    """Refuse an engine whose packages are missing: it is loaded after the data are read, which may take long."""
    extra = {"ray": "ray", "remote": "sites"}.get(experiment.engine)
    if extra is not None:
        require(extra, "engine", experiment.engine)


def check_engine(experiment: Experiment) -> None:
    """Refuse settings that only another engine has: they would be ignored."""
    for name, facts in FACTS.items():
        value = getattr(experiment, name)
        if facts.engine not in (None, experiment.engine) and value != Experiment.model_fields[name].default:
            problem = f"engine {experiment.engine} has no such setting"
            raise UsageError(name, value, problem, f"leave it out, or give --engine {facts.engine}")


def check_head(experiment: Experiment, method: Method) -> None:
    """Refuse a head for methods without one, and what methods with one can't be trained with."""
    if not method.head:
        if experiment.head is not None:
            problem = f"clients of method {experiment.method} have no head"
            raise UsageError("head", experiment.head, problem, "leave it out, or choose cse-fsl, fsl-sage or splitgp")
        return
    if experiment.head is not None:
        read_head(experiment.head)
    if experiment.tail is not None:
        problem = f"method {experiment.method} has a loss at the client, and labels that the server learns from"
        raise UsageError("tail", experiment.tail, problem, "leave it out, or choose a method without a head")
    if experiment.pipelining and not method.answered:
        problem = f"clients of method {experiment.method} never wait for gradients"
        raise UsageError("pipelining", experiment.pipelining, problem, "leave it out")
    if experiment.engine == "remote" and experiment.batching != "local" and not method.answered:
        problem = "clients with heads take steps by themselves, for which sites are not told how many samples to use"
        raise UsageError("batching", experiment.batching, problem, "leave it out, or give --engine local or ray")


def check_steps(method: Method, plan: TrainingPlan, batching: Batching, sizes: Sequence[int]) -> None:
    """Refuse parameters of a method that don't fit the steps of the first epoch, or with which one has no upload.

    Who takes part is drawn by the seed, so that all cohorts are known here; but not where clients tell later how many
    samples they have.
    """
    if not all(sizes) or type(method).check_steps is Method.check_steps:
        return
    owned, cohorts = np.array(sizes, dtype=np.int64), dict[tuple[int, ...], None]()
    for epoch in range(plan.epochs):
        drawn = plan.drawn(sizes, method.round_of(epoch))
        cohorts |= dict.fromkeys(method.cohorts(drawn, generator(plan.seed, "cohorts", epoch)))
    steps = [batching.schedule(owned[list(cohort)], plan.seed, 0, cohort).steps for cohort in cohorts]
    silent = [number for number in steps if number and not any(map(method.sends, range(number)))]
    for fewest in filter(None, (min(silent, default=0), steps[0])):
        method.check_steps(fewest)


def check_tail(experiment: Experiment, method: Method) -> None:
    """Refuse a U-shape with settings that need labels at the server, or a step of one exchange."""
    if experiment.tail is None:
        return
    if method.needs_labels:
        problem = f"the method reads labels with these parameters ({method}), and labels stay with the clients"
        raise UsageError("tail", experiment.tail, problem, "leave it out, or choose another method or parameters")
    if experiment.pipelining:
        problem = "the gradient of a step comes after a second exchange, which leaves nothing to compute ahead"
        raise UsageError("pipelining", experiment.pipelining, problem, "leave it out, or leave out --tail")
    if experiment.ray_server == "cluster":
        problem = "a server in the cluster's processes can't ask clients during a step (tail)"
        raise UsageError("ray_server", "cluster", problem, "give --ray-server driver, or leave out --tail")
    if method.whole_model:
        problem = f"method {experiment.method} keeps the whole model, and so all labels, at the clients"
        raise UsageError("tail", experiment.tail, problem, "leave it out, or choose a method that splits the model")
