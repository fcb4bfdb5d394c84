"""The clock of clients that run batches ahead: by hand, beside the clock without and the plan, and after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sglr
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import StepDone, Traffic
from sglr.cost.clock_spec import read_clock
from sglr.cost.cohort_clock import CohortClock
from sglr.cost.pipelined_clock import PipelinedClock
from sglr.cost.step_time import SampleWork, Speeds

TINY: dict[str, Any] = {"clients": 3, "samples_per_client": 24, "epochs": 2, "model": "mlp", "threads": 1}
ONE = "1MFLOPS/8Mbps+200ms,server=10MFLOPS"
"""A client that computes 10⁶ operations and sends 10⁶ bytes a second, 0.1 s away."""

WORK = SampleWork(forward=1e5, backward=2e5, server_forward=1e6, server_backward=2e6)


def clocks(clock: str, clients: int, ahead: int) -> tuple[CohortClock, PipelinedClock]:
    speeds = Speeds.of(read_clock(clock, clients, 0), WORK)
    ids = tuple(range(clients))
    return CohortClock(ids, speeds, 0.0), PipelinedClock(ids, speeds, 0.0, ahead=ahead)


def exchange(clients: tuple[int, ...], samples: list[int]) -> list[Traffic]:
    """Of each sample 150,000 bytes of smashed data, 50,000 of labels, and 100,000 of gradients."""
    counts = np.array(samples)
    each = (("smashed", True, 150_000), ("labels", True, 50_000), ("gradients", False, 100_000))
    return [Traffic(kind, up, clients, counts * size) for kind, up, size in each]


def test_three_steps_with_a_batch_ahead_by_hand() -> None:
    """Two samples: 0.2 s forward, 0.4 back, 0.4 up, 0.2 down, 0.1 at the server, 0.1 each way.

    ======  =============  =======  =======  ============  ============
    step    forward        link up  server   gradient      back
    ======  =============  =======  =======  ============  ============
    0       0.0 to 0.2     to 0.6   to 0.8   at 1.1        1.1 to 1.5
    1       0.2 to 0.4     to 1.0   to 1.2   at 1.5        1.7 to 2.1
    2       1.5 to 1.7     to 2.1   to 2.3   at 2.6        2.6 to 3.0
    ======  =============  =======  =======  ============  ============
    """
    _, clock = clocks(ONE, 1, 1)
    for _ in range(3):
        clock.take(2, exchange((0,), [2]), 1e6)
    assert clock.end() == pytest.approx(3.0)
    compute, transfer, waiting, _ = clock.totals[:, 0]
    assert compute == pytest.approx(3 * 0.6)
    assert transfer == pytest.approx(0.7 + 0.4)  # from 0.4 to 1.1, and from 2.1 to 2.6 but for the server's 0.1
    assert waiting == pytest.approx(0.1)
    longest = {"forward": 0.4, "up": 1.0, "server": 0.2, "down": 0.6, "backward": 0.8}
    assert clock.phases == {name: pytest.approx(seconds) for name, seconds in longest.items()}


def test_without_a_batch_ahead_it_is_the_clock_of_a_cohort() -> None:
    """Clients of unequal speed and data, of which some are absent; weights go down before and up after."""
    plain, pipelined = clocks("lognormal:1MFLOPS/8Mbps+200ms,sigma=1", 4, 0)
    rng = np.random.default_rng(0)
    weights = np.full(4, 300_000)
    ends = []
    for clock in (plain, pipelined):
        rng = np.random.default_rng(0)
        clock.receive(Traffic("weights", False, (0, 1, 2, 3), weights))
        for step in range(12):
            there = (0, 1, 2, 3) if step < 8 else (0, 2)
            samples = rng.integers(1, 5, len(there)).tolist()
            clock.take(sum(samples), exchange(there, samples), float(rng.uniform(0, 1e7)))
        clock.send(Traffic("weights", True, (0, 1, 2, 3), weights))
        clock.receive(Traffic("weights", False, (0, 1, 2, 3), weights))
        ends.append(clock.end())
    assert ends[0] == pytest.approx(ends[1])
    assert plain.totals == pytest.approx(pipelined.totals)
    assert sum(pipelined.phases.values()) == pytest.approx(ends[1])
    assert pipelined.phases["server"] == pytest.approx(plain.phases["server"])


@pytest.mark.parametrize("ahead", [1, 2, 4, 8])
@pytest.mark.parametrize(
    ("clock", "bound"),
    [
        ("1MFLOPS/8Mbps+2000ms,server=10MFLOPS", "round trip"),
        ("1MFLOPS/1000Mbps,server=10MFLOPS", "client"),
        ("100MFLOPS/2Mbps+10ms,server=1GFLOPS", "up"),
        ("100MFLOPS/1000Mbps,server=1MFLOPS", "server"),
    ],
)
def test_a_long_run_takes_what_the_plan_says(clock: str, bound: str, ahead: int) -> None:
    """t_N = max(c, u / R, d / R, s, t_0 / (N + 1)); 400 steps, of which the first and last are not of the kind."""
    plain, pipelined = clocks(clock, 2, ahead)
    steps, flops = 400, 1e6
    for one in (plain, pipelined):
        for _ in range(steps):
            one.take(4, exchange((0, 1), [2, 2]), flops)
    speeds = Speeds.of(read_clock(clock, 2, 0), WORK)
    client = 2 * float(speeds.forward[0] + speeds.backward[0])
    parts = {"client": client, "up": 4e5 * float(speeds.up[0]), "server": flops * speeds.server}
    parts["round trip"] = plain.end() / steps / (ahead + 1)
    step = max(parts.values())
    assert pipelined.end() == pytest.approx(steps * step, rel=0.03)
    assert bound != max(parts, key=lambda name: parts[name]) or step == parts[bound]
    assert sum(pipelined.phases.values()) == pytest.approx(pipelined.end())


@pytest.mark.parametrize("ahead", [1, 2, 4])
@pytest.mark.parametrize("clock", ["1MFLOPS/8Mbps+2000ms,server=10MFLOPS", "100MFLOPS/2Mbps+10ms,server=1GFLOPS"])
def test_an_epoch_takes_what_the_plan_says(clock: str, ahead: int) -> None:
    """Twenty steps: t_0 + 19 t_N."""
    plain, pipelined = clocks(clock, 2, ahead)
    for one in (plain, pipelined):
        for _ in range(20):
            one.take(4, exchange((0, 1), [2, 2]), 1e6)
    speeds, once = Speeds.of(read_clock(clock, 2, 0), WORK), plain.end() / 20
    step = max(2 * float(speeds.forward[0] + speeds.backward[0]), 4e5 * float(speeds.up[0]), once / (ahead + 1))
    assert pipelined.end() == pytest.approx(once + 19 * step, rel=0.04)


@pytest.mark.parametrize("method", ["psl", "sglr", "sfl", "ssl", "cyclesl", "splitgp"])
def test_a_run_adds_up(method: str, tmp_path: Path) -> None:
    clock = "0=phone/4g,1-2=laptop/wifi"
    plain, ahead = (
        sglr.train(method, **TINY, pipelining=depth, clock=clock, out=tmp_path / str(depth)) for depth in (0, 2)
    )
    told = ahead.summary["modelled_time"]
    assert ahead.history[-1]["modelled_seconds"] == told["seconds"] < plain.summary["modelled_time"]["seconds"]
    assert sum(told["phases"].values()) == pytest.approx(told["seconds"])
    parts = [told["clients"][f"{name}_seconds"] for name in ("compute", "transfer", "waiting")]
    assert np.sum(parts, axis=0).tolist() == pytest.approx([told["seconds"]] * 3)
    assert parts[0] == pytest.approx(plain.summary["modelled_time"]["clients"]["compute_seconds"])


@pytest.mark.parametrize("steps", [1, 4, 5, 6])
def test_stopped_and_resumed_with_gradients_on_their_way_the_clock_goes_on(steps: int, tmp_path: Path) -> None:
    clock = "lognormal:phone/4g,sigma=1"
    settings = {**TINY, "clock": clock, "pipelining": 2, "participation": 0.7, "batch_size": 5}
    whole = sglr.train("sfl", **settings, out=tmp_path / "whole")
    seen = [0]

    def observe(event: object) -> None:
        seen[0] += isinstance(event, StepDone)

    with pytest.raises(Interrupted):
        sglr.train("sfl", **settings, out=tmp_path / "cut", observe=observe, stop=lambda: seen[0] >= steps)
    run = sglr.resume(tmp_path / "cut")
    assert run.summary["modelled_time"] == whole.summary["modelled_time"]
    assert [row["modelled_seconds"] for row in run.history] == [row["modelled_seconds"] for row in whole.history]


@pytest.mark.parametrize(
    ("method", "more", "problem"),
    [
        ("psl", {"tail": "fc2"}, "pipelining = 2: the gradient of a step comes after a second exchange"),
        ("sfl", {"average_every": 1}, "pipelining = 2: method sfl.* merges clients' weights within an epoch"),
        ("psl", {"stragglers": "quorum:2"}, "stragglers = quorum:2: clients that compute ahead are not late"),
        ("psl", {"batching": "clock"}, "pipelining = 2: with batching clock the server tells each client"),
    ],
)
def test_what_can_not_run_ahead_is_refused_with_a_clock_too(method: str, more: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        sglr.train(method, **TINY, **more, pipelining=2, clock="phone/4g")
