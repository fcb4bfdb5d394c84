"""The model of time: its equations by hand, what it adds up to in a run, and that it goes on after a stop."""

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
from sglr.cost.step_time import SampleWork, Speeds, step_times

TINY: dict[str, Any] = {"clients": 3, "samples_per_client": 24, "epochs": 2, "model": "mlp", "threads": 1}
TWO = "0=1MFLOPS/8Mbps+200ms,1=2MFLOPS/80Mbps,server=10MFLOPS"
"""One client computes 10⁶ operations and sends 10⁶ bytes a second, 0.1 s away; one 2·10⁶ and 10⁷, nowhere away."""

WORK = SampleWork(forward=1e5, backward=2e5, server_forward=1e6, server_backward=2e6)


def two() -> CohortClock:
    return CohortClock((0, 1), Speeds.of(read_clock(TWO, 2, 0), WORK), 0.0)


def traffic(kind: str, up: bool, *sizes: int) -> Traffic:
    return Traffic(kind, up, tuple(range(len(sizes))), np.array(sizes))


def test_a_step_by_hand() -> None:
    """Of 2 samples each; 4·10⁵ bytes up and 2·10⁵ down; the server computes 12·10⁶ operations."""
    speeds = Speeds.of(read_clock(TWO, 2, 0), WORK)
    samples, up, down = (np.full(2, value) for value in (2.0, 4e5, 2e5))
    found = step_times(speeds, np.zeros(2), samples, up, down, 12e6)
    assert found.arrives.tolist() == pytest.approx([0.2 + 0.1 + 0.4, 0.1 + 0.04])
    assert found.begins == pytest.approx(0.7)
    assert found.ends == pytest.approx(1.9)
    assert found.ready.tolist() == pytest.approx([1.9 + 0.1 + 0.2 + 0.4, 1.9 + 0.02 + 0.2])


def test_the_clock_of_a_cohort_is_these_equations() -> None:
    clock, samples = two(), np.array([2, 2])
    sent = [traffic("smashed", True, 300_000, 300_000), traffic("labels", True, 100_000, 100_000)]
    told = [traffic("gradients", False, 200_000, 200_000)]
    clock.take(int(samples.sum()), [*sent, *told], 12e6)
    speeds = Speeds.of(read_clock(TWO, 2, 0), WORK)
    sizes = np.full(2, 2.0), np.full(2, 4e5), np.full(2, 2e5)
    first = step_times(speeds, np.zeros(2), *sizes, 12e6)
    clock.take(int(samples.sum()), [*sent, *told], 12e6)
    second = step_times(speeds, first.ready, *sizes, 12e6)
    assert clock.end() == pytest.approx(second.ready.max())
    (compute, transfer, waiting, last), phases = clock.totals, clock.phases
    assert compute.tolist() == pytest.approx([2 * 0.6, 2 * 0.3])
    assert transfer.tolist() == pytest.approx([2 * (0.1 + 0.4 + 0.1 + 0.2), 2 * (0.04 + 0.02)])
    assert (compute + transfer + waiting).tolist() == pytest.approx([second.ready.max()] * 2)
    assert last.tolist() == [2, 0]
    assert sum(phases.values()) == pytest.approx(second.ready.max())
    assert phases["forward"] == pytest.approx(2 * 0.2)
    assert phases["server"] == pytest.approx(2 * 1.2)


def test_weights_go_up_when_a_client_is_ready_and_down_when_all_are_there() -> None:
    clock = two()
    clock.receive(traffic("weights", False, 10**6, 10**6))  # 0.1 + 1 s and 0.1 s
    clock.alone(np.array([2, 2]))  # 0.6 and 0.3 s
    clock.send(traffic("weights", True, 10**6, 10**6))  # 0.1 + 1 s and 0.1 s
    assert clock.end() == pytest.approx(1.1 + 0.6 + 1.1)
    assert clock.totals[2].tolist() == pytest.approx([0, 2.8 - 0.1 - 0.3 - 0.1])
    assert {name: pytest.approx(value) for name, value in clock.phases.items()} == {
        "down": 1.1,
        "forward": 0.2,
        "backward": 0.4,
        "up": 1.1,
    }


def test_clients_that_are_told_nothing_do_not_wait() -> None:
    """CSE-FSL: they go on as soon as they have sent."""
    clock = two()
    clock.take(4, [traffic("smashed", True, 400_000, 400_000)], 12e6)
    assert clock.end() == pytest.approx(max(0.7 + 1.2, 0.7 + 0.4))


def test_an_exchange_of_features_within_a_step_takes_a_round_trip_more() -> None:
    sent = [traffic("smashed", True, 400_000, 400_000), traffic("gradients", False, 200_000, 200_000)]
    features = [traffic("features", False, 100_000, 100_000), traffic("feature_gradients", True, 100_000, 100_000)]
    plain, u_shape = two(), two()
    plain.take(4, sent, 12e6)
    u_shape.take(4, [sent[0], *features, sent[1]], 12e6)
    assert u_shape.end() - plain.end() == pytest.approx(0.1 + 0.1 + 0.1 + 0.1)


@pytest.mark.parametrize("method", ["psl", "sfl", "fl", "ssl", "cse-fsl", "gas", "cyclesl"])
def test_a_run_adds_up(method: str, tmp_path: Path) -> None:
    more = {"h": 2} if method == "cse-fsl" else {}
    run = sglr.train(method, **TINY, **more, clock="0=phone/4g,1-2=laptop/wifi", out=tmp_path / "run")
    told, history = run.summary["modelled_time"], run.history
    assert history[-1]["modelled_seconds"] == told["seconds"] > history[0]["modelled_seconds"] > 0
    assert sum(told["phases"].values()) == pytest.approx(told["seconds"])
    each = told["clients"]
    parts = [each[f"{name}_seconds"] for name in ("compute", "transfer", "waiting")]
    assert np.sum(parts, axis=0).tolist() == pytest.approx([told["seconds"]] * 3)
    assert told["step_seconds"] == pytest.approx(told["seconds"] / told["steps"])


def test_a_clock_changes_nothing_that_is_trained(tmp_path: Path) -> None:
    with_clock, without = (
        sglr.train("sglr", **TINY, **more, out=tmp_path / str(len(more))).summary for more in ({"clock": "pi/lan"}, {})
    )
    assert with_clock["weights_sha256"] == without["weights_sha256"]
    assert with_clock["communication"] == without["communication"]
    assert "modelled_time" not in without


def test_fewer_bytes_take_less_time(tmp_path: Path) -> None:
    found = [
        sglr.train("psl", **TINY, clock="pi/4g", compression=code, out=tmp_path / code).summary["modelled_time"]
        for code in ("none", "int8")
    ]
    assert found[1]["seconds"] < found[0]["seconds"]


@pytest.mark.parametrize(("method", "steps"), [("sfl", 4), ("ssl", 5), ("fl", 3)])
def test_stopped_and_resumed_the_clock_goes_on(method: str, steps: int, tmp_path: Path) -> None:
    settings = {**TINY, "clock": "lognormal:phone/4g,sigma=1", "participation": 0.7, "batch_size": 5}
    whole = sglr.train(method, **settings, out=tmp_path / "whole")
    seen = [0]

    def observe(event: object) -> None:
        seen[0] += isinstance(event, StepDone)

    with pytest.raises(Interrupted):
        sglr.train(method, **settings, out=tmp_path / "cut", observe=observe, stop=lambda: seen[0] >= steps)
    run = sglr.resume(tmp_path / "cut")
    assert run.summary["modelled_time"] == whole.summary["modelled_time"]
    assert [row["modelled_seconds"] for row in run.history] == [row["modelled_seconds"] for row in whole.history]


def test_a_clock_for_clients_that_do_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"clock = .*there is no client 3"):
        sglr.train("psl", **TINY, clock="0-3=phone/4g", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.charts
def test_a_comparison_tells_the_time_to_a_score(tmp_path: Path) -> None:
    settings = {**TINY, "clock": "pi/4g"}
    found = sglr.compare(["psl", "fl"], **settings, out=tmp_path / "all", time_to=0.01)
    for row in found.rows:
        run = sglr.Run(tmp_path / "all" / row["runs"][0])
        assert row["time_to"] == {"score": 0.01, "seconds": run.history[0]["modelled_seconds"]}
        assert row["modelled_seconds"] == run.summary["modelled_time"]["seconds"]
        assert "Accuracy against modelled time" in (run.path / "report.html").read_text()
    assert {"modelled time", "to 1.0 %"} <= set(found.headings())
    page = (tmp_path / "all" / "report.html").read_text()
    assert "Validation accuracy against modelled time" in page
    assert "Whole training" in page
    assert "To 1.0 %" in page
    assert "1.0 % is the score that was asked for" in page


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"time_to = nan: is no score"):
        sglr.compare(["psl"], **TINY, clock="pi/4g", out=tmp_path / "all", time_to=float("nan"))
    assert not (tmp_path / "all").exists()


def test_who_has_all_data_computes_on_the_first_clients_device(tmp_path: Path) -> None:
    clock = "0=phone/4g,1-2=laptop/wifi"
    times = [
        sglr.train("cl", **TINY, clock=own, out=tmp_path / str(number)).summary["modelled_time"]["seconds"]
        for number, own in enumerate((clock, "phone/4g"))
    ]
    assert times[0] == times[1]


def test_without_a_clock_no_time_to_a_score_can_be_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"time_to = 0.5: times are modelled by a clock, and none is given"):
        sglr.compare(["psl", "fl"], **TINY, out=tmp_path / "all", time_to=0.5)


@pytest.mark.parametrize("method", ["psl", "sfl", "fl"])
def test_the_ledgers_time_in_turn_is_the_clocks_of_clients_that_are_alike_and_compute_in_no_time(
    method: str, tmp_path: Path
) -> None:
    """The study of all methods takes bytes / rate + messages × latency, of 20 Mbit/s and 50 ms."""
    clock = "1000000000GFLOPS/20Mbps+100ms,server=1000000000GFLOPS"
    summary = sglr.train(method, **TINY, clock=clock, out=tmp_path / "run").summary
    sent = summary["communication"]["in_turn"]
    assert summary["modelled_time"]["seconds"] == pytest.approx(sent["bytes"] * 8 / 20e6 + sent["messages"] * 0.05)
