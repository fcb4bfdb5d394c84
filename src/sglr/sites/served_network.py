"""The server's part of a trained run, and the run as sites are told it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from sglr.core.codec import Codec
from sglr.core.errors import UsageError
from sglr.core.task import Task
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.segment_hash import features_of
from sglr.engines.remote.server.predictions import ServedNetwork
from sglr.parties.packed_codec import PackedCodec
from sglr.sites.trained_run import TrainedRun
from sglr.splitting import parts_of
from sglr.splitting.bounds import bounds_beside
from sglr.system.device import pick_device


@dataclass(frozen=True)
class ServedRunParts:
    """A trained run that can answer predictions.

    Parameters
    ----------
    trained
        The run itself.
    description
        The run as sites are told it; its id is not filled in.
    network
        The server's part.
    """

    trained: TrainedRun
    description: RunDescription
    network: ServedNetwork


def served_network(
    folder: Path,
    *,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    task: str | Task | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> ServedRunParts:
    """Load the server's part of a trained run, with the weights of its best epoch.

    Parameters
    ----------
    folder
        The run's folder.
    model, task
        As in `sglr.assembly.load_model.load_model`.
    device, threads
        Where the server computes, and with how many threads.

    Raises
    ------
    UsageError
        If it is no trained run, its clients hold the whole model, or this machine lacks the device.
    """
    place = pick_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    trained = TrainedRun.open(folder, model, task)
    experiment, built = trained.run.experiment, trained.built
    if built.cuts is not None:
        problem = f"its clients are cut at different places ({built.cut})"
        raise UsageError(
            "run", folder, problem, "predict from the run's folder, where it was trained: sglr predict RUN"
        )
    data, first = replace(built.data, encoding=trained.record.encoding), built.lower(0)
    task_now = built.task.decided((trained.run.summary or {}).get("test") or {})
    told = replace(RunDescription.of(experiment, task_now, data, [first]), served=trained.upper_digest())
    answer = features_of(first) or built.task.output_shape(built.data.targets)
    alike = built.method.alike and not built.method.keeps_head
    merged = built.trainer.shared if alike else {}
    shared = {name: tensor.cpu() for name, tensor in merged.items()} or None
    codec = _bounded(built.trainer.engine.codec.of_cut(0), first, trained.upper(), told)
    network = ServedNetwork(trained.upper().to(place), codec, told.cut_shape, tuple(answer), shared, place)
    return ServedRunParts(trained, told, network)


def _bounded(codec: Codec, segment: nn.Module, upper: nn.Module, told: RunDescription) -> Codec:
    """Return a codec that refuses integers which the server's segment can't take, where some cross."""
    if not isinstance(codec, PackedCodec):
        return codec
    lower, _ = parts_of(segment)
    zeros = torch.zeros(2, *told.input_shape, dtype=told.no_samples().inputs.dtype)
    with torch.no_grad():
        rows = copy.deepcopy(lower).cpu().eval()(zeros)
    return replace(codec, bounds=bounds_beside(upper, codec.crossing, rows))
