"""Clients built from the description of a run, with code and data of this site's own choice.

Settings come over the wire as plain values and never choose code: a model must be registered here or be the one that
this site names itself. Names of methods and partitions are looked up among those that are installed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from sglr.assembly.batching import batch_rule_of
from sglr.assembly.label_prior import label_prior_of
from sglr.assembly.make_segments import client_segments
from sglr.assembly.method import build_method
from sglr.assembly.readable_tokens import readable_tokens
from sglr.assembly.task import named_task
from sglr.assembly.weight_code import delta_code
from sglr.compression.error_feedback import parse
from sglr.core.codec import Plain
from sglr.core.data import ClientData, Samples
from sglr.core.errors import UsageError
from sglr.core.optim import OptimizerSpec
from sglr.core.registry import METHODS, MODELS, PARTITIONERS, TASKS, model_prefix
from sglr.core.task import Task
from sglr.data.augmentation import parse as parse_augmentation
from sglr.data.batches import Batching
from sglr.engines.remote.client.job import Job
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.segment_hash import frozen_hash, segment_hash, shape_at_cut
from sglr.parties.defences import parse as parse_defences
from sglr.parties.packed_codec import packed_codec
from sglr.runs.config import Experiment, named, part_fields
from sglr.runs.facts import facts_of_parameter
from sglr.sites.bounds import refuse_model_beyond_memory
from sglr.sites.own_data import OwnData, Source, WantedData, load_own
from sglr.sites.requirements import SiteRequirements
from sglr.splitting import crossing_of
from sglr.splitting.input_layout import InputLayout, layout_alone
from sglr.system.device import pick_device

log = logging.getLogger(__name__)

_BUILDING = threading.Lock()
"""First weights are drawn from torch's generator, which all threads of a process share: one at a time."""


@dataclass(frozen=True)
class SiteConfig:
    """The settings of a site.

    Parameters
    ----------
    source
        Its data.
    model, task
        ``package.module:name`` of its own code, if the run's model or task is that; else the run's name is looked up
        among registered ones.
    device, threads
        Where it computes, and with how many threads.
    requirements
        What it requires of the run.
    link
        What its connections are to be like, as the setting ``link``; None for what the server says.
    """

    source: Source = field(default_factory=Source)
    model: str | None = None
    device: str = "auto"
    threads: int | None = None
    requirements: SiteRequirements = field(default_factory=SiteRequirements)
    task: str | None = None
    link: str | None = None


def make_trainers(description: RunDescription, clients: Sequence[int], site: SiteConfig) -> list[LocalTrainer]:
    """Build the clients of this process.

    Raises
    ------
    UsageError
        If the run wants code that this site did not choose, is not what it asks for, or its data do not fit.
    """
    if site.threads is not None:
        torch.set_num_threads(site.threads)
    experiment = own_experiment(description, site.model, site.task)
    site.requirements.check(experiment)
    data = load_own(site.source, wanted_of(description), clients)
    for note in dict.fromkeys(note for part in data.values() for note in part.notes):
        log.warning("%s", note)
    with _BUILDING:
        return _build(description, experiment, {client: data[client] for client in clients}, site)


def wanted_of(description: RunDescription) -> WantedData:
    """Return what a run wants of a site's data."""
    return WantedData(
        description.clients,
        description.input_shape,
        description.targets,
        description.settings,
        description.encoding,
        description.input_type,
    )


def _build(
    description: RunDescription, experiment: Experiment, data: Mapping[int, OwnData], site: SiteConfig
) -> list[LocalTrainer]:
    segments = own_segments(description, experiment)
    trainers: list[LocalTrainer] = []
    for client, its in data.items():
        segment = segments(client)
        _check_batches(its.train, description)
        if not trainers and (readable := readable_tokens(segment, its.train.inputs)):
            log.warning("%s", readable)
        trainers.append(LocalTrainer(_job(client, segment, its, experiment, description, site)))
    return trainers


def own_experiment(description: RunDescription, model: str | None, task: str | None = None) -> Experiment:
    """Return the experiment as a client sees it: what it was told, checked, with nothing in it that chooses code.

    Parameters
    ----------
    description
        The run.
    model, task
        As in `SiteConfig`.

    Raises
    ------
    UsageError
        If the run's model or task is code that this site has not chosen, or a setting makes no sense here.
    """
    told = description.settings
    chosen = {name: told[name] for name in named(clients="take") if told.get(name) is not None}
    for kind, registry in (("method", METHODS), ("partition", PARTITIONERS)):
        if chosen.get(kind) not in registry.names():
            problem = f"the server names a {kind} that is not installed here"
            raise UsageError(kind, str(chosen.get(kind))[:60], problem, "install the same version and plug-ins")
        chosen |= {name: told[name] for name in part_fields(kind, str(chosen[kind])) if name in told}
    asked = str(told.get("model"))
    known = [asked] if model_prefix(asked) else MODELS.names()  # installed libraries are no code of the server's
    chosen["model"] = _chosen("model", told.get("model"), model, known)
    chosen["task"] = _chosen("task", told.get("task", "auto"), task, ["auto", *TASKS.names()])
    chosen |= _task_parameters(str(chosen["task"]), told)
    place = {"dataset": "sites", "input_shape": description.input_shape}
    return Experiment.from_flat(chosen | place | {"engine": "remote"})


def _chosen(kind: str, told: Any, own: str | None, known: Sequence[str]) -> str:
    """Return the name of code to use: the site's own, or the run's if it is one that is registered."""
    if own is not None:
        return own
    if told in known:
        return str(told)
    problem = f"the run's {kind} is code that this site has not chosen"
    raise UsageError(kind, str(told)[:200], problem, f"look at that code, then give --{kind} {str(told)[:200]}")


def _task_parameters(task: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task's parameters that decide what this client computes, without metrics that are somebody's code."""
    fields = part_fields("task", task)
    taken = {name for name, field in fields.items() if facts_of_parameter(field).clients == "take" and name in told}
    found = {name: told[name] for name in taken}
    if "metrics" in fields and isinstance(told.get("metrics"), list):
        found["metrics"] = [name for name in told["metrics"] if ":" not in str(name)]
    return found


def own_segments(description: RunDescription, experiment: Experiment) -> Callable[[int], nn.Module]:
    """Return what gives a client's segment, after comparing it, of every cut that the run has, with the server's.

    Raises
    ------
    UsageError
        If it is another than the server's.
    """
    refuse_model_beyond_memory(experiment, description)
    none = description.no_samples()
    layout = layout_alone(description.encoding)
    segments = client_segments(experiment, ClientData(none, (), None, none, description.targets, layout))
    for client in description.some_of_each_cut:
        _compare(segments(client), description.at(client), experiment)
    return partial(_compared, segments, description, experiment) if description.ends else segments


def _compared(
    segments: Callable[[int], nn.Module], description: RunDescription, experiment: Experiment, client: int
) -> nn.Module:
    """Return a client's segment, if it is cut where the server says."""
    segment = segments(client)
    _compare(segment, description.at(client), experiment)
    return segment


def _compare(segment: nn.Module, description: RunDescription, experiment: Experiment) -> None:
    """Refuse a segment that is not what the server says of this client's."""
    cut = shape_at_cut(segment, description.input_shape, description.no_samples().inputs.dtype)
    if segment_hash(segment, description.input_shape, cut) != description.segment:
        raise UsageError("model", experiment.model, "differs from the server's", _differs(description, cut))
    if frozen_hash(segment) != description.frozen:
        problem = "its frozen weights differ from the server's"
        raise UsageError(
            "model", experiment.model, problem, "use the same pretrained weights, and freeze the same ones"
        )


def _differs(description: RunDescription, cut: tuple[int, ...]) -> str:
    if cut != description.cut_shape:
        return f"its cut has shape {list(cut)}, the server's {list(description.cut_shape)}: use the same model"
    return f"use the same code, sglr {description.sglr} and torch {description.torch}"


def own_task(experiment: Experiment, description: RunDescription, data: OwnData) -> Task:
    """Return the run's task, having looked at the site's own targets.

    Raises
    ------
    UsageError
        If they are not what the task can learn, or it is left to each site's data what is learned.
    """
    task = named_task(experiment)
    task.check(description.targets)
    none = description.no_samples()
    held = data.held.get("validation"), data.held.get("test", none)
    own = ClientData(data.train, (torch.arange(len(data.train)),), *held, description.targets)
    if task.fitted(own) != task:
        problem = "its parameters are left to the data, and each site has others"
        raise UsageError("task", experiment.task, problem, "ask the operator to state them")
    return task


def _check_batches(train: Samples, description: RunDescription) -> None:
    """Refuse a site whose only sample makes no batch; in a simulation, such a client is there and does not train."""
    if description.settings.get("dataset") == "sites" and len(train) < description.least_batch:
        problem = "the run's model can't train on a single sample (batch statistics)"
        raise UsageError("data", "1 sample", problem, "add another sample")


def _job(
    client: int,
    segment: nn.Module,
    data: OwnData,
    experiment: Experiment,
    description: RunDescription,
    site: SiteConfig,
) -> Job:
    method, crossing = build_method(experiment), crossing_of(segment)
    task = own_task(experiment, description, data)
    return Job(
        client,
        segment,
        data.train,
        data.held,
        task,
        description.targets,
        Batching(
            experiment.batch_size,
            experiment.short_clients,
            description.least_batch,
            batch_rule_of(experiment, method),
        ),
        OptimizerSpec.parse(experiment.optimizer),
        experiment.clip_norm,
        experiment.seed,
        label_prior_of(experiment, method, task, description.targets),
        Plain() if method.whole_model else packed_codec(parse(experiment.compression), crossing),
        pick_device(site.device),
        experiment.pipelining,
        method.round_of if experiment.client_optimizer == "reset" else None,
        parse_defences(experiment.defence, experiment.seed)
        .over(crossing)
        .of_inputs(InputLayout.of(description.encoding)),
        accumulate=experiment.accumulate,
        whole_model=method.whole_model,
        keep_labels=site.requirements.keep_labels,
        augmentation=parse_augmentation(experiment.augment, experiment.seed).fitted(
            data.train.inputs[0], description.targets
        ),
        own_share=method.own_share,
        head_weight=method.head_weight,
        keeps_head=method.keeps_head,
        decoder_weight=method.decoder_weight if method.decodes else None,
        delay_compensation=experiment.delay_compensation,
        largest_cut=description.largest_cut,
        delta_code=delta_code(experiment, method, lambda: segment),
    )
