"""Load the trained network from a run folder."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides, Training
from sglr.assembly.run_checkpoints import best_checkpoint, frozen_weights, newest_checkpoint
from sglr.assembly.task import given_task
from sglr.assembly.without_data import stand_ins
from sglr.compression.error_feedback import Received
from sglr.core.errors import DamagedCheckpoint, UsageError
from sglr.core.plan import Progress
from sglr.core.registry import ENGINES
from sglr.core.task import Task
from sglr.core.weights import Weights, state_of
from sglr.data.objects.options import Options
from sglr.data.objects.read import DataLike, read_objects
from sglr.engines.local import Local
from sglr.runs.folder import Run, damage_explained
from sglr.splitting import HeadedSegment, Thirds, parts_of
from sglr.splitting.input_layout import InputLayout
from sglr.splitting.segment_weights import load_state
from sglr.splitting.several_inputs import PackInputs
from sglr.splitting.trunk import entered
from sglr.storage.checkpoint import read_checkpoint
from sglr.storage.json_files import WRONG


def load_model(
    path: str | Path,
    client: int = 0,
    *,
    segment: str | Path | None = None,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    dataset: DataLike | None = None,
    task: str | Task | None = None,
    **options: Any,
) -> nn.Sequential:
    """Return a trained network: one client's segment, then the server's.

    Parameters
    ----------
    path
        The run's folder.
    client
        Whose segment; where segments are shared, all clients have the same.
    segment
        The file with the client's weights, where clients were on machines of their own: ``segment.safetensors`` in the
        folder of a client, which no one else has.
    model
        The model, if it was given as an object when the run began; its ``package.module:function``, if that is code of
        your own that is not installed.
    task
        The task, if it was given as an object of a class of your own; its ``package.module:Name``, if that is code of
        your own that is not installed.
    dataset, **options
        The data set, for runs of before that keep no ``data.json`` in their folder. Others need no data, and read none.

    Returns
    -------
    nn.Sequential
        Modules ``client`` and ``server`` in evaluation mode, on the CPU, with the weights of the best validation epoch,
        or of the newest checkpoint where none is known. Between them is ``received`` where smashed data were
        compressed: what the server learned from is what it must be given. Where labels stayed with the clients, the
        client's ``tail`` comes last. Where samples have several inputs, ``inputs`` comes first, and takes a dict.

    Raises
    ------
    UsageError
        If the folder is no run, has no checkpoint, or there is no such client.
    """
    run = Run.open(Path(path), model if isinstance(model, str) else None)
    built = load_training(run, model, task, dataset, options)
    segments = trained_segments(built, client, None if segment is None else Path(segment))
    layers = OrderedDict[str, nn.Module]()
    layout = InputLayout.of(built.data.encoding)
    if layout is not None:
        layers["inputs"] = PackInputs(layout)
    layers["client"] = segments.lower
    codec = built.trainer.engine.codec.of_cut(built.cut_of(client))
    if not codec.exact:
        layers["received"] = Received(codec)
    layers["server"] = segments.upper
    if built.tail is not None:
        layers["tail"] = segments.tail
    return nn.Sequential(layers).eval()


def load_training(
    run: Run,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    task: str | Task | None = None,
    dataset: DataLike | None = None,
    options: Mapping[str, Any] | None = None,
) -> Training:
    """Return a run's parts with the weights of its best validation epoch; its data are needed only without a record.

    Parameters
    ----------
    run, model, task, dataset, options
        As in `load_model`.

    Raises
    ------
    UsageError
        If the run has no checkpoint, or a part can't be made.
    """
    built_by = None if isinstance(model, str) else model
    read = Options.of(options or {})
    record, own = run.data, given_task(run.experiment, task)
    if record is None:
        experiment = run.experiment.model_copy(update={"device": "cpu"})
        data = None if dataset is None else read_objects(dataset, read)
        given = PartOverrides(model=built_by, dataset=data, engine=ENGINES.load(experiment.engine), task=own)
    else:
        experiment, given = stand_ins(run.experiment, record, built_by, own)
    return restored(run, build(experiment, replace(given, frozen=frozen_weights(run))))


def restored(run: Run, built: Training) -> Training:
    """Give a run's parts the weights of its best validation epoch, or of its newest checkpoint.

    Raises
    ------
    UsageError
        If the run has no checkpoint.
    """
    if isinstance(built.trainer.engine, Local):
        built.trainer.engine.attach(run.path)  # where clients may be that did not take part
    try:
        tensors, state = best_checkpoint(run)
    except DamagedCheckpoint:
        newest = newest_checkpoint(run)
        if newest is None:
            raise UsageError("run", run.path, "has no checkpoint", "train it for an epoch at least") from None
        tensors, state = newest
    with damage_explained(run.path, wrong=(*WRONG, RuntimeError)):
        built.trainer.restore(tensors, Progress.of(state["progress"]))
    return built


def trained_segments(built: Training, client: int, segment: Path | None = None) -> Thirds:
    """Return copies of a client's segments and the server's, as they stand, in evaluation mode on the CPU.

    Parameters
    ----------
    built
        The run's parts.
    client
        Whose segment.
    segment
        The file with the client's weights, where they are in no checkpoint.

    Raises
    ------
    UsageError
        If there is no such client, or its weights are not here.
    """
    lower, tail = parts_of(trained_client(built, client, segment))
    upper = copy.deepcopy(built.trainer.server.segment).cpu().eval()
    return Thirds(lower, entered(upper, built.cut_of(client)), tail.eval())


def trained_client(built: Training, client: int, segment: Path | None = None) -> nn.Module:
    """Return a copy of all layers that a client holds, as `trained_segments` does; with a head, where it has one."""
    clients = len(built.trainer.sizes)
    if not 0 <= client < clients:
        raise UsageError("client", client, f"there are {clients} clients", f"give 0 to {clients - 1}")
    own = built.lower(client)
    load_state(own, _weights(built, client) if segment is None else _read_segment(segment, own))
    return own.cpu().eval()


def trained_head(built: Training, client: int, segment: Path | None = None) -> nn.Module:
    """Return a copy of a client's head, from its smashed data to the task's outputs, as `trained_segments` does.

    Raises
    ------
    UsageError
        If clients have none, there is no such client, or its weights are not here.
    """
    own = trained_client(built, client, segment)
    if not isinstance(own, HeadedSegment):
        raise UsageError("head", "none", "the clients of this run have no heads", "leave it out")
    return own.head


def _weights(built: Training, client: int) -> Weights:
    trainer = built.trainer
    if trainer.shared and built.method.alike and not built.method.keeps_head:
        return trainer.shared if built.cuts is None else built.cuts.held(trainer.shared, built.cut_of(client))
    own = {name: tensor[0] for name, tensor in trainer.engine.collect((client,)).items()}
    return own | (dict(trainer.shared) if built.method.alike else {})


def _read_segment(path: Path, lower: nn.Module) -> Weights:
    try:
        weights, _ = read_checkpoint(path)
    except DamagedCheckpoint as error:
        raise UsageError("segment", path, str(error), "give the segment.safetensors of a client's folder") from error
    if weights.keys() != state_of(lower).keys():
        raise UsageError("segment", path, "its weights are of another model or cut", "give a file of the same run")
    return weights
