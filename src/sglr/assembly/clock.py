"""The simulated clock that the settings name: devices and links, and what a sample costs on them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sglr.assembly.segments import Segments
from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.trainer import Trainer
from sglr.cost.clock import Clock
from sglr.cost.clock_spec import read_clock
from sglr.cost.computation import segment_flops
from sglr.cost.fleet import Fleet
from sglr.cost.step_time import SampleWork
from sglr.cost.training_flops import client_flops, server_halves
from sglr.data.batches import Batching
from sglr.runs.config import Experiment


def fleet_of(experiment: Experiment, clients: int) -> Fleet | None:
    """Return the clients' devices and links; None without a clock.

    Raises
    ------
    UsageError
        If the setting can't be read, names clients that don't exist, or can't be had with another setting.
    """
    if experiment.clock is None:
        return None
    fleet = read_clock(experiment.clock, clients, experiment.seed)
    why = _why_not(experiment)
    if why is not None:
        raise UsageError("clock", experiment.clock, *why)
    return fleet


def _why_not(experiment: Experiment) -> tuple[str, str] | None:
    """Return why a training has no clock, and what to do; None if it can have one."""
    if experiment.ray_server == "cluster":
        problem = "how much the server computes is not known step by step where it is in the cluster's processes"
        return problem, "leave it out, or give --ray-server driver"
    if experiment.pipelining:
        return (
            "steps that overlap have no clock (pipelining)",
            "leave out one of them; sglr plan --rtt --ahead tells times",
        )
    if experiment.cuts is not None:
        return "clients that are cut at different places have no clock yet (cuts)", "leave out one of them"
    return None


def work_of(experiment: Experiment, segments: Segments, data: ClientData) -> SampleWork:
    """Return what a sample costs at the clients and at the server.

    Raises
    ------
    UsageError
        If a segment's operations can't be counted.
    """
    shape, dtype = tuple(data.train.inputs.shape[1:]), data.train.inputs.dtype
    try:
        client = client_flops(segments.lower_of(0), shape, dtype)
        server = segment_flops(segments.upper, segments.cut_shape, input_gradient=True)
    except Exception as error:  # a user's model may raise anything
        problem = f"the model's operations can't be counted ({type(error).__name__}: {' '.join(str(error).split())})"
        raise UsageError("clock", str(experiment.clock), problem, "leave it out, or give another model") from error
    return SampleWork(client.forward, client.backward, server.forward, server.backward)


def clock_of(
    fleet: Fleet | None, work: SampleWork | None, trainer: Trainer, batching: Batching, cut_shape: tuple[int, ...]
) -> Clock | None:
    """Return the clock of a training; None without a fleet."""
    if fleet is None or work is None:
        return None
    halves: Callable[[], tuple[float, float]] = partial(_halves, trainer, cut_shape)
    return Clock(fleet, work, trainer, batching, halves)


def _halves(trainer: Trainer, cut_shape: tuple[int, ...]) -> tuple[float, float]:
    return server_halves(trainer.server.segment, cut_shape)
