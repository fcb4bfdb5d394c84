"""The simulated clock that the settings name: devices and links, and what a sample costs on them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from sglr.assembly.segments import Segments
from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.trainer import Trainer
from sglr.cost.clock import Clock, Halves
from sglr.cost.clock_spec import read_clock
from sglr.cost.computation import segment_flops
from sglr.cost.fleet import Figures, Fleet
from sglr.cost.step_time import SampleWork
from sglr.cost.training_flops import client_flops, server_halves
from sglr.data.batches import Batching
from sglr.runs.config import Experiment
from sglr.splitting.trunk import entered


def fleet_of(experiment: Experiment, *, pooled: bool) -> Fleet | None:
    """Return the clients' devices and links, of the first alone if it has all data (``pooled``); None without a clock.

    Raises
    ------
    UsageError
        If the setting can't be read, names clients that don't exist, or can't be had with another setting.
    """
    if experiment.clock is None:
        return None
    fleet = read_clock(experiment.clock, experiment.clients, experiment.seed)
    if experiment.ray_server == "cluster":
        problem = "how much the server computes is not known step by step where it is in the cluster's processes"
        raise UsageError("clock", experiment.clock, problem, "leave it out, or give --ray-server driver")
    return fleet.first() if pooled else fleet


def work_of(experiment: Experiment, segments: Segments, data: ClientData) -> SampleWork:
    """Return what a sample costs at the clients and at the server: of each client's, where they are cut differently.

    Raises
    ------
    UsageError
        If a segment's operations can't be counted.
    """
    shape, dtype, cuts = tuple(data.train.inputs.shape[1:]), data.train.inputs.dtype, segments.cuts
    shapes = (segments.cut_shape,) if cuts is None else cuts.shapes
    try:
        ends = list(zip(segments.ends(), shapes, strict=True))
        clients = [client_flops(end.lower, shape, dtype) for end, _ in ends]
        servers = [segment_flops(end.upper, at_cut, input_gradient=True) for end, at_cut in ends]
    except Exception as error:  # a user's model may raise anything
        problem = f"the model's operations can't be counted ({type(error).__name__}: {' '.join(str(error).split())})"
        raise UsageError("clock", str(experiment.clock), problem, "leave it out, or give another model") from error
    return SampleWork(
        of_clients([flops.forward for flops in clients], cuts),
        of_clients([flops.backward for flops in clients], cuts),
        of_clients([flops.forward for flops in servers], cuts),
        of_clients([flops.backward for flops in servers], cuts),
    )


def of_clients(each: Sequence[float], cuts: ClientCuts | None) -> float | Figures:
    """Return figures of every cut as those of every client, ``[C]``; the only one, where all have one cut."""
    return each[0] if cuts is None else np.array(each, dtype=np.float64)[list(cuts.places)]


def clock_of(
    fleet: Fleet | None,
    work: SampleWork | None,
    trainer: Trainer,
    batching: Batching,
    cut_shape: tuple[int, ...],
    ahead: int,
) -> Clock | None:
    """Return the clock of a training; None without a fleet."""
    if fleet is None or work is None:
        return None
    return Clock(fleet, work, trainer, batching, partial(_halves, trainer, cut_shape), ahead)


def _halves(trainer: Trainer, cut_shape: tuple[int, ...]) -> Halves:
    segment, cuts = trainer.server.segment, trainer.cuts
    shapes = (cut_shape,) if cuts is None else cuts.shapes
    to_weights, to_inputs = zip(
        *(server_halves(entered(segment, cut), at) for cut, at in enumerate(shapes)), strict=True
    )
    return of_clients(to_weights, cuts), of_clients(to_inputs, cuts)
