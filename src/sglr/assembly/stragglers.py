"""What a step does about late clients on simulated clocks; it is refused where a method or setting can't have it."""

from __future__ import annotations

from sglr.assembly.clock import of_clients
from sglr.assembly.segments import Segments
from sglr.core.codec import CodecByCut
from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.random import generator
from sglr.cost.fleet import Fleet
from sglr.cost.step_time import SampleWork
from sglr.data.batch_rule import CLOCK, BatchRule
from sglr.data.stragglers import BUFFER, DEADLINE, Pace, StragglerRule
from sglr.runs.config import Experiment


def straggler_rule_of(experiment: Experiment, method: Method, batches: BatchRule) -> StragglerRule:
    """Return the rule.

    Raises
    ------
    UsageError
        If the setting can't be read, or the method or another setting can't have it.
    """
    rule = StragglerRule.parse(experiment.stragglers)
    if experiment.clock is not None and batches.name == CLOCK and ":" in experiment.batching:
        problem = "the speeds of clients are those of --clock, and need no spread"
        raise UsageError("batching", experiment.batching, problem, "give --batching clock")
    if rule.waits:
        return rule
    why = _why_not(experiment, method, batches, rule)
    if why is not None:
        raise UsageError("stragglers", experiment.stragglers, *why)
    return rule


def _why_not(experiment: Experiment, method: Method, batches: BatchRule, rule: StragglerRule) -> tuple[str, str] | None:
    """Return why a rule can't be had, and what to do; None if it can."""
    leave, other, name = "leave it out", "leave it out, or choose another method", experiment.method
    if experiment.clock is None:
        return "nobody is late without a clock", "give --clock, such as phone/4g, or leave it out"
    if experiment.engine == "remote":
        return "between sites clients are late by themselves", f"{leave}, or give --step-deadline instead"
    if method.whole_model or method.pooled:
        return f"clients of method {name} take no steps together in which one could be late", other
    if not method.answered or method.head:
        return f"clients of method {name} train by heads of their own, and wait for nobody", other
    if len(method.cohorts((0, 1), generator(0, "cohorts", 0))) > 1:
        return f"clients of method {name} train one after another", other
    if batches.of_cohort:
        return f"batching {batches.name} says who is in a step", "leave out one of them"
    if experiment.pipelining:
        return "clients that compute ahead are not late from one answer to the next", "leave out one of them"
    if experiment.tail is not None:
        return "a step has two exchanges where labels stay with the clients", "leave out one of them"
    if experiment.short_clients == "cycle" or experiment.accumulate > 1:
        given = "short_clients" if experiment.short_clients == "cycle" else "accumulate"
        return f"a batch that is late is not made up for, as {given} needs", f"{leave}, or leave out {given}"
    if rule.name == BUFFER and (not (method.joint and method.accumulates) or method.mixes):
        return f"the server of method {name} does more than one joint step, which can't weigh old batches less", other
    at_work = max(1, round(experiment.participation * experiment.clients))
    fewest = rule.fewest if rule.name == DEADLINE else rule.number
    if fewest > at_work:
        return f"only {at_work} clients are at work", f"give at most {at_work}"
    return None


def pace_of(
    fleet: Fleet | None, work: SampleWork | None, codec: CodecByCut, segments: Segments, data: ClientData
) -> Pace | None:
    """Return how long each client takes for a step, from one answer of the server to the next; None without clocks."""
    if fleet is None or work is None:
        return None
    cuts = segments.cuts
    shapes = (segments.cut_shape,) if cuts is None else cuts.shapes
    codecs = [(codec.of_cut(cut), (1, *shape)) for cut, shape in enumerate(shapes)]
    up = of_clients([own.bytes(shape) + data.targets.bytes for own, shape in codecs], cuts)
    down = of_clients([own.of_gradients.bytes(shape) for own, shape in codecs], cuts)
    each = (work.forward + work.backward) / fleet.flops + up / fleet.up + down / fleet.down
    return Pace(fleet.rtt, each, work.server / fleet.server_flops, up / fleet.up)
