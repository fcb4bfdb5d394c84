"""Clients built from the description of a run, with code and data of this site's own choice.

Settings come over the wire as plain values and never choose code: a model must be registered here or be the one that
this site names itself. Names of methods and partitions are looked up among those that are installed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from sglr.assembly.method import build_method
from sglr.assembly.segments import client_segments
from sglr.assembly.task import named_task
from sglr.compression.error_feedback import parse
from sglr.core.codec import Plain
from sglr.core.data import ClientData, Samples
from sglr.core.errors import UsageError
from sglr.core.optim import OptimizerSpec
from sglr.core.registry import METHODS, MODELS, PARTITIONERS
from sglr.core.task import Targets
from sglr.data.augmentation import parse as parse_augmentation
from sglr.data.batches import Batching
from sglr.engines.remote.client.job import Job
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.segment_hash import frozen_hash, segment_hash, shape_at_cut
from sglr.parties.defences import parse as parse_defences
from sglr.runs.config import Experiment, named, part_fields
from sglr.sites.bounds import refuse_model_beyond_memory
from sglr.sites.own_data import OwnData, Source, WantedData, load_own
from sglr.sites.requirements import SiteRequirements
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
    model
        ``package.module:function`` of its own code, if the run's model is that; else the run's name is looked up
        among registered models.
    device, threads
        Where it computes, and with how many threads.
    requirements
        What it requires of the run.
    """

    source: Source = field(default_factory=Source)
    model: str | None = None
    device: str = "auto"
    threads: int | None = None
    requirements: SiteRequirements = field(default_factory=SiteRequirements)


def make_trainers(description: RunDescription, clients: Sequence[int], site: SiteConfig) -> list[LocalTrainer]:
    """Build the clients of this process.

    Raises
    ------
    UsageError
        If the run wants code that this site did not choose, is not what it asks for, or its data do not fit.
    """
    if site.threads is not None:
        torch.set_num_threads(site.threads)
    experiment = own_experiment(description, site.model)
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
        description.classes,
        description.settings,
        description.encoding,
        description.input_type,
    )


def _build(
    description: RunDescription, experiment: Experiment, data: Mapping[int, OwnData], site: SiteConfig
) -> list[LocalTrainer]:
    segments = own_segments(description, experiment)
    trainers = []
    for client, its in data.items():
        segment = segments(client)
        _check_batches(its.train, description)
        trainers.append(LocalTrainer(_job(client, segment, its, experiment, description, site)))
    return trainers


def own_experiment(description: RunDescription, model: str | None) -> Experiment:
    """Return the experiment as a client sees it: what it was told, checked, with nothing in it that chooses code.

    Raises
    ------
    UsageError
        If the run's model is code that this site has not chosen, or a setting makes no sense here.
    """
    told = description.settings
    chosen = {name: told[name] for name in named(clients="take") if told.get(name) is not None}
    for kind, registry in (("method", METHODS), ("partition", PARTITIONERS)):
        if chosen.get(kind) not in registry.names():
            problem = f"the server names a {kind} that is not installed here"
            raise UsageError(kind, str(chosen.get(kind))[:60], problem, "install the same version and plug-ins")
        chosen |= {name: told[name] for name in part_fields(kind, str(chosen[kind])) if name in told}
    if model is not None:
        chosen["model"] = model
    elif chosen.get("model") not in MODELS.names():
        wanted = str(chosen.get("model"))[:200]
        problem = "the run's model is code that this site has not chosen"
        raise UsageError("model", wanted, problem, f"look at that code, then give --model {wanted}")
    place = {"dataset": "sites", "input_shape": description.input_shape, "classes": description.classes}
    return Experiment.from_flat(chosen | place | {"engine": "remote"})


def own_segments(description: RunDescription, experiment: Experiment) -> Callable[[int], nn.Module]:
    """Return what gives a client's segment, after comparing it with the server's.

    Raises
    ------
    UsageError
        If it is another than the server's.
    """
    refuse_model_beyond_memory(experiment, description)
    none = description.no_samples()
    segments = client_segments(experiment, ClientData(none, (), None, none, Targets.of_classes(description.classes)))
    first = segments(0)
    cut = shape_at_cut(first, description.input_shape, none.inputs.dtype)
    if segment_hash(first, description.input_shape, cut) != description.segment:
        raise UsageError("model", experiment.model, "differs from the server's", _differs(description, cut))
    if frozen_hash(first) != description.frozen:
        problem = "its frozen weights differ from the server's"
        raise UsageError(
            "model", experiment.model, problem, "use the same pretrained weights, and freeze the same ones"
        )
    return segments


def _differs(description: RunDescription, cut: tuple[int, ...]) -> str:
    if cut != description.cut_shape:
        return f"its cut has shape {list(cut)}, the server's {list(description.cut_shape)}: use the same model"
    return f"use the same code, sglr {description.sglr} and torch {description.torch}"


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
    method = build_method(experiment)
    return Job(
        client,
        segment,
        data.train,
        data.held,
        named_task(experiment),
        len(description.classes),
        Batching(experiment.batch_size, experiment.short_clients, description.least_batch),
        OptimizerSpec.parse(experiment.optimizer),
        experiment.clip_norm,
        experiment.seed,
        experiment.label_prior,
        Plain() if method.whole_model else parse(experiment.compression),
        pick_device(site.device),
        int(experiment.pipelining),
        method.round_of if experiment.client_optimizer == "reset" else None,
        parse_defences(experiment.defence, experiment.seed),
        accumulate=experiment.accumulate,
        whole_model=method.whole_model,
        keep_labels=site.requirements.keep_labels,
        augmentation=parse_augmentation(experiment.augment, experiment.seed).fitted(
            data.train.inputs[0], Targets.of_classes(description.classes)
        ),
    )
