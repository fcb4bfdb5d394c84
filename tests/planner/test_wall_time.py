"""Times over links with a delay, by hand; who wins, where that changes; and what a pilot can tell."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sglr.cli.main import main
from sglr.core.errors import UsageError
from sglr.cost.clock_spec import read_clock
from sglr.cost.closed_forms import Sizes
from sglr.cost.step_time import SampleWork, Speeds, step_times
from sglr.planner.costs import Scenario, Work
from sglr.planner.plan import CostPlan, make_plan
from sglr.planner.request import Request
from sglr.planner.time_advice import Pilot, TimeAdvice
from sglr.planner.wall_time import LABEL_BYTES, Network, Route, routes
from sglr.report.score_style import ScoreStyle
from sglr.studies.pilot import judged, run_pilot

WORK = Work(client=3e5, server=1.5e6, whole=1.8e6)


def plan(model: float = 2.0, work: Work | None = WORK) -> CostPlan:
    """Two clients with 100 samples each in batches of 10, 0.01 MB at the cut, 2 MB/s."""
    sizes = Sizes(clients=2, samples=200, cut=0.01, model=model, client=0.5)
    return replace(make_plan(Scenario(sizes, 0.5, 2.0, work, flops_rate=1e7, server_flops_rate=1e8)), batch=10)


UP, DOWN = (1e5 + 10 * LABEL_BYTES) / 2e6, 1e5 / 2e6
CLIENT, SERVER = 0.3, 2 * 10 * 1.5e6 / 1e8


def test_a_step_and_an_epoch_by_hand() -> None:
    network = Network(plan(), 0.1)
    found = network.time(Route("psl"))
    assert found.step == pytest.approx(CLIENT + 0.1 + UP + SERVER + DOWN)
    assert found.epoch == pytest.approx(10 * found.step)
    assert found.bound == "exchange"
    shared = network.time(Route("sfl"))
    assert shared.epoch == pytest.approx(10 * found.step + 0.1 + 2 * 0.5 / 2)
    whole = network.time(Route("fl"))
    assert whole.epoch == pytest.approx(100 * 1.8e6 / 1e7 + 0.1 + 2 * 2 / 2)
    assert whole.bound == "client"


def test_it_is_the_clocks_model_of_time() -> None:
    fleet = read_clock("10MFLOPS/16Mbps+100ms,server=100MFLOPS", 2, 0)
    work = SampleWork(forward=1e5, backward=2e5, server_forward=5e5, server_backward=1e6)
    samples, bytes_up, bytes_down = ([value] * 2 for value in (10.0, 2e6 * UP, 2e6 * DOWN))
    each = (np.array(values) for values in (samples, bytes_up, bytes_down))
    clocked = step_times(Speeds.of(fleet, work), np.zeros(2), *each, 20 * 1.5e6)
    assert Network(plan(), 0.1).time(Route("psl")).step == pytest.approx(clocked.ready.max())


def test_who_computes_ahead_waits_for_what_takes_longest() -> None:
    network = Network(plan(), 0.1)
    once = network.time(Route("psl")).step
    assert network.time(Route("psl", ahead=1)).step == pytest.approx(once / 2)
    assert network.time(Route("psl", ahead=1)).epoch == pytest.approx(once + 9 * once / 2)  # all gradients are back
    far = network.time(Route("psl", ahead=8))
    assert (far.step, far.bound) == (pytest.approx(0.3), "client")
    idle = Network(plan(work=None), 0.1).time(Route("psl", ahead=8))
    assert (idle.step, idle.bound) == (pytest.approx(UP), "up")


def test_a_batch_is_no_larger_than_what_a_client_owns() -> None:
    whole, larger = (Network(replace(plan(), batch=size), 0.1).time(Route("psl")) for size in (100, 10**6))
    assert (larger.step, larger.epoch) == (whole.step, whole.epoch)


def test_what_is_named_twice_is_timed_once() -> None:
    assert routes(["fl", "psl", "psl", "fl"], ["none", "none"], [0, 0]) == [Route("fl"), Route("psl")]


def test_int8_sends_about_a_quarter() -> None:
    network = Network(plan(), 0.1)
    up, down = network.bytes_at_cut("int8")
    assert 0.24 < down / 1e5 < 0.27
    assert up == down + 10 * LABEL_BYTES


@pytest.mark.parametrize("rounds", [1.0, 3.0])
def test_at_the_crossover_both_take_as_long(rounds: float) -> None:
    network = Network(plan(), 0.1)
    split = network.time(Route("psl"))
    at = network.crossover_mb(split, rounds)
    there = Network(plan(model=at), 0.1).time(Route("fl")) if at else None
    assert (there is None) == (rounds == 1.0)
    if there is not None:
        assert there.epoch == pytest.approx(rounds * split.epoch)


def advice(model: float, pilot: Pilot | None = None) -> TimeAdvice:
    network = Network(plan(model, None), 0.1)
    return TimeAdvice(network, [network.time(way) for way in routes(["fl", "psl"], ["none"], [0])], pilot)


def test_it_says_plainly_who_wins_and_where_that_changes() -> None:
    small, large = advice(0.5), advice(50.0)
    assert small.sentences()[0].startswith("FedAvg wins: 600 ms for an epoch; psl takes 2.0 s")
    assert "below it" in small.sentences()[1]
    assert large.sentences()[0].startswith("psl wins: 2.0 s for an epoch; FedAvg takes 50.1 s, 25 times as long")
    assert "above it" in large.sentences()[1]


def test_a_pilot_counts_epochs() -> None:
    pilot = Pilot(10, 0.7, "70.0 % accuracy", {"fl": 8, "psl": 2})
    told = advice(0.5, pilot)
    assert told.to_score(told.times[0]) == pytest.approx(8 * 0.6)
    assert told.sentences()[1].startswith("psl wins: 4.0 s to 70.0 % accuracy; FedAvg takes 4.8 s")


def histories(**curves: list[float]) -> dict[str, Any]:
    return {name: [{"validation_accuracy": value} for value in curve] for name, curve in curves.items()}


def test_a_pilot_that_is_too_short_to_tell_is_named() -> None:
    both = judged(histories(fl=[0.2, 0.5, 0.6], psl=[0.4, 0.7, 0.9]), ScoreStyle(), 3, None)
    assert both.epochs_to == {"fl": 3, "psl": 2}
    assert both.too_short == ""
    never = judged(histories(fl=[0.2, 0.3], psl=[0.4, 0.5]), ScoreStyle(), 2, 0.9)
    assert never.too_short == "no method reached 90.0 %"
    assert "too short to tell: no method reached 90.0 %" in advice(0.5, never).sentences()[0]
    one = judged(histories(fl=[0.2, 0.3], psl=[0.4, 0.9]), ScoreStyle(), 2, 0.9)
    assert "too short to tell for fl" in advice(0.5, one).sentences()[0]
    at_once = judged(histories(fl=[0.9, 0.8], psl=[0.9, 0.9]), ScoreStyle(), 2, None)
    assert at_once.too_short == "all methods were there after one epoch"
    with pytest.raises(UsageError, match="pilot = 1: is too short to tell"):
        run_pilot(["fl"], ["none"], 1, {})


OF_MODEL = ("plan", "--model", "mlp", "--dataset", "digits", "--clients", "3", "--samples", "300", "--rate", "20Mbit")


def test_a_plan_with_a_pilot(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "--rtt",
        "100ms",
        "--pilot",
        "2",
        "--methods",
        "fl,psl",
        "--compressions",
        "none",
        "--ahead",
        "0,1",
        "--json",
    )
    main([*OF_MODEL, *words])
    told = json.loads(capsys.readouterr().out)["time"]
    assert told["pilot"]["epochs"] == 2
    assert [row["method"] for row in told["routes"]] == ["fl", "psl", "psl"]
    for row in told["routes"]:
        if row["epochs"] is not None and not told["pilot"]["too_short"]:
            assert row["seconds_to_score"] == pytest.approx(row["epochs"] * row["epoch_seconds"])
    assert told["crossover_model_mb"] is not None
    assert told["words"]


def test_a_share_of_a_step_s_batch_is_a_client_s_batch() -> None:
    sizes = {"clients": 10, "samples": 6400, "cut_mb": 0.01, "model_mb": 1.0, "client_mb": 0.1}
    asked = {rule: Request(**sizes, batching=rule).plan() for rule in ("local", "proportional:80", "proportional:320")}
    steps = {rule: Network(found, 0.1).steps for rule, found in asked.items()}
    assert [found.batch for found in asked.values()] == [8, 8, 32]
    assert list(steps.values()) == [80, 80, 20]


def test_a_pilot_trains_what_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    """The plan's φ and batches decide what its pilot learns."""
    common = ("--rtt", "100ms", "--pilot", "2", "--compressions", "none", "--ahead", "0", "--json")
    scores = []
    for words in (("sglr",), ("sglr", "--phi", "0.1"), ("psl",), ("psl", "--batching", "proportional:120")):
        main([*OF_MODEL, "--methods", *words, *common])
        scores.append(json.loads(capsys.readouterr().out)["time"]["pilot"]["target"])
    assert len(set(scores)) == 4


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("--pilot", "3"), "pilot"),
        (("--rtt", "fast"), "rtt"),
        (("--rtt", "-5ms"), "rtt"),
        (("--rtt", "1ms", "--methods", "pls"), "methods"),
        (("--rtt", "1ms", "--ahead", "9"), "ahead"),
        (("--rtt", "1ms", "--ahead", "x"), "ahead"),
        (("--rtt", "1ms", "--compressions", "int7"), "compression"),
        (("--rtt", "1ms", "--pilot", "1"), "pilot"),
        (("--rtt", "1ms", "--methods", ","), "methods"),
        (("--rtt", "1ms", "--compressions", ""), "compressions"),
        (("--rtt", "1ms", "--ahead", ","), "ahead"),
        (("--rtt", "1ms", "--pilot", "2", "--target", "nan"), "target"),
        (("--rtt", "1ms", "--target", "0.5"), "target"),
        (("--rtt", "1ms", "--advise"), "rtt"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], field: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*OF_MODEL, *words]) != 0
    assert f"{field} = " in capsys.readouterr().err
