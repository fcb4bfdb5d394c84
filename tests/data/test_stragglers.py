"""Clients that are late on simulated clocks: who is in a step, by hand; a stop changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sglr
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import StepDone
from sglr.core.types import ByOutputs, Uplink
from sglr.data.arrivals import Arrivals
from sglr.data.batch_rule import REGULATED, BatchRule
from sglr.data.batches import Batching
from sglr.data.buffered import Buffered
from sglr.data.late import Punctual
from sglr.data.schedules import Consecutive
from sglr.data.stragglers import Pace, StragglerRule
from sglr.parties.server import _by_age

PACE = Pace(np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.5, 1.5]))
"""A batch of two samples takes 1, 2 and 5 seconds."""

OWN = Consecutive(np.array([8, 8, 8]), np.array(2))


def who(schedule: Punctual | Buffered) -> list[list[int]]:
    return [np.flatnonzero(schedule.at(step)[1]).tolist() for step in range(schedule.steps)]


def test_a_deadline_by_hand() -> None:
    """Steps open at 0, 3, 6 and 9: client 2 is busy until 5 with a batch that came too late, and then until 11."""
    found = Punctual(OWN, PACE, StragglerRule.parse("deadline:3"))
    assert who(found) == [[0, 1], [0, 1], [0, 1], [0, 1]]
    assert [found.attempt(step).late.tolist()[2] for step in range(4)] == [2, 0, 2, 0]
    assert [found.attempt(step).patience for step in range(4)] == [3, 3, 3, 3]
    assert found.used.tolist() == [8, 8, 0]
    patient = Punctual(OWN, PACE, StragglerRule.parse("deadline:5"))
    assert who(patient) == [[0, 1, 2]] * 4
    assert all(patient.attempt(step).patience == 0 for step in range(4))


def test_a_deadline_waits_for_the_fewest() -> None:
    assert who(Punctual(OWN, PACE, StragglerRule.parse("deadline:0.5"))) == [[0]] * 4
    found = Punctual(OWN, PACE, StragglerRule.parse("deadline:0.5,fewest=2"))
    assert who(found)[0] == [0, 1]
    assert found.attempt(0).patience == 2


def test_a_quorum_by_hand() -> None:
    """Steps open at 0, 1, 2 and 3 with one; client 1 is busy until 2 and begins again then, too late as ever."""
    found = Punctual(OWN, PACE, StragglerRule.parse("quorum:1"))
    assert who(found) == [[0]] * 4
    assert [found.attempt(step).late.tolist() for step in range(3)] == [[0, 2, 2], [0, 0, 0], [0, 2, 0]]


@pytest.mark.parametrize("rule", ["quorum:3", "deadline:100"])
def test_with_everyone_in_time_it_is_the_schedule_itself(rule: str) -> None:
    found = Punctual(OWN, PACE, StragglerRule.parse(rule))
    for step in range(OWN.steps):
        for own, late in zip(OWN.at(step), found.at(step), strict=True):
            assert own.tolist() == late.tolist()


def test_a_buffer_by_hand() -> None:
    """Batches arrive at 1, 2 | 3, 4 | 5 (client 0), 5 (client 2) | 6 (1), 6 (0) | 8 (1) and 10 (2) | 15 | 20."""
    found = Buffered(OWN, PACE, 2)
    assert who(found)[:4] == [[0, 1], [0, 1], [0, 2], [0, 1]]
    assert [found.staleness(step)[1].tolist() for step in range(3)] == [[0, 0], [0, 0], [0, 2]]
    assert found.used.tolist() == [8, 8, 8]


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(1, 6), st.integers(0, 2**31), st.floats(0, 0.1)
)
def test_a_buffer_loses_no_batch_and_has_nobody_twice(sizes: list[int], number: int, seed: int, server: float) -> None:
    rng = np.random.default_rng(seed)
    pace = Pace(rng.uniform(0, 1, len(sizes)), rng.uniform(0.1, 2, len(sizes)), server)
    own = Consecutive(np.array(sizes), np.array(3))
    found = Buffered(own, pace, number)
    samples = np.zeros(len(sizes), dtype=int)
    for step in range(found.steps):
        first, counts = found.at(step)
        present = np.flatnonzero(counts)
        assert 1 <= len(present) <= number
        assert first[present].tolist() == samples[present].tolist()
        samples += counts
        assert (found.staleness(step)[1] >= 0).all()
    assert samples.tolist() == sizes


def test_old_batches_weigh_less_in_the_servers_step_and_not_in_what_clients_are_told() -> None:
    uplink = Uplink(torch.zeros(2, 2, 1), torch.zeros(2, 2), (3, 7), (2, 1))
    plain = torch.full((1, 3, 1), 1 / 3)
    step, told = _by_age(ByOutputs(plain, None), uplink, {3: 1.0, 7: 0.5})
    assert step.flatten().tolist() == pytest.approx([1 / 2.5, 1 / 2.5, 0.5 / 2.5])
    assert told is plain


def test_batches_arrive_and_are_shared_out_by_the_clock() -> None:
    arrivals = Arrivals(OWN, np.array([0.5, 0.5, 1.5]), 3, np.array([0.0, 1.0, 2.0]))
    assert np.flatnonzero(arrivals.at(0)[1]).tolist() == [0]  # at 1, and again at 2
    batching = Batching(10, rule=BatchRule(REGULATED), pace=Pace(np.array([0.0, 4.0]), np.array([1.0, 1.0])))
    assert batching.schedule(np.array([100, 100]), 0, 0).at(0)[1].tolist() == [12, 8]


def test_who_takes_longer_for_nothing_than_others_for_their_share_has_one_sample_of_the_same_sum() -> None:
    # B = 32. All four together: T = (32 + 2 * 100 / 1) / 4 = 58, and the first two, of fixed time 100, have -42.
    # They get 1 each, and the others share 30.
    pace = Pace(np.array([100.0, 100.0, 0.0, 0.0]), np.ones(4))
    batching = Batching(8, rule=BatchRule(REGULATED), pace=pace)
    assert batching.schedule(np.full(4, 100), 0, 0).at(0)[1].tolist() == [1, 1, 15, 15]
    # B = 12, T = (12 + 10 + 7) / 3 = 9.67: -0.33, 2.67, 9.67. Without the first, T = (11 + 7) / 2 = 9: 2 and 9.
    pace = Pace(np.array([10.0, 7.0, 0.0]), np.ones(3))
    batching = Batching(4, rule=BatchRule(REGULATED), pace=pace)
    assert batching.schedule(np.full(3, 100), 0, 0).at(0)[1].tolist() == [1, 2, 9]
    # With three samples at least, the second one has them, too, and the last 12 - 6.
    batching = Batching(4, least=3, rule=BatchRule(REGULATED), pace=pace)
    assert batching.schedule(np.full(3, 100), 0, 0).at(0)[1].tolist() == [3, 3, 6]


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.floats(0.01, 10)), min_size=1, max_size=8),
    st.integers(1, 9),
    st.integers(1, 2),
)
def test_regulated_batches_share_no_more_than_b_times_the_clients(pace, size: int, least: int) -> None:
    fixed, each = np.array(pace).T
    batching = Batching(max(size, least), least=least, rule=BatchRule(REGULATED), pace=Pace(fixed, each))
    shares = batching.schedule(np.full(len(pace), 10_000), 0, 0).at(0)[1]
    assert batching.together(len(pace)) - len(pace) < shares.sum() <= batching.together(len(pace))
    assert shares.min() >= least
    assert shares.max() <= batching.longest(len(pace))


TINY: dict[str, Any] = {"clients": 4, "samples_per_client": 30, "epochs": 2, "model": "mlp", "threads": 1}
CLOCK = {"clock": "0-2=phone/wifi,3=phone/4g"}


@pytest.mark.parametrize("rule", ["deadline:0.06", "quorum:2"])
def test_who_is_late_does_not_move(rule: str, tmp_path: Path) -> None:
    """Law 4: client 3, which never comes in time, keeps its first weights; shares are of those who are there."""
    settings = {**TINY, **CLOCK, "stragglers": rule}
    run = sglr.train("psl", **settings, out=tmp_path / "late")
    told, three = run.summary["modelled_time"], sglr.train("psl", **TINY, **CLOCK, out=tmp_path / "wait")
    assert told["seconds"] < three.summary["modelled_time"]["seconds"]
    assert sum(told["phases"].values()) == pytest.approx(told["seconds"])
    assert run.summary["computation"]["server_samples"]["forward"] == run.history[-1]["samples"] < 4 * 30 * 2
    by_client = run.summary["modelled_time"]["clients"]["compute_seconds"]
    assert by_client[3] > 0


@pytest.mark.parametrize("rule", ["quorum:4", "deadline:1000", "buffer:4"])
def test_with_everyone_in_each_step_weights_are_those_of_waiting(rule: str, tmp_path: Path) -> None:
    found = [
        sglr.train("sglr", **TINY, clock="phone/4g", stragglers=one, out=tmp_path / one.replace(":", "-")).summary
        for one in ("wait", rule)
    ]
    assert found[0]["weights_sha256"] == found[1]["weights_sha256"]
    assert found[0]["modelled_time"] == found[1]["modelled_time"]


@pytest.mark.parametrize(("method", "rule"), [("sfl", "buffer:2"), ("psl", "quorum:3"), ("sfl", "deadline:0.07")])
def test_stopped_anywhere_it_ends_with_the_same_weights(method: str, rule: str, tmp_path: Path) -> None:
    """Law 5."""
    settings = {**TINY, **CLOCK, "stragglers": rule}
    whole = sglr.train(method, **settings, out=tmp_path / "whole").summary
    seen = [0]

    def observe(event: object) -> None:
        seen[0] += isinstance(event, StepDone)

    with pytest.raises(Interrupted):
        sglr.train(method, **settings, out=tmp_path / "cut", observe=observe, stop=lambda: seen[0] >= 3)
    again = sglr.resume(tmp_path / "cut").summary
    for key in ("weights_sha256", "communication", "modelled_time"):
        assert again[key] == whole[key], key


@pytest.mark.parametrize("rule", ["buffer:2", "quorum:2"])
def test_where_clients_live_makes_no_difference(rule: str, tmp_path: Path) -> None:
    """Law 2: stacked and looped."""
    found = []
    for stacking in ("stacked", "looped"):
        settings = {**TINY, **CLOCK, "stragglers": rule, "stacking": stacking}
        found.append(sglr.train("psl", **settings, out=tmp_path / stacking))
    assert found[0].history[-1]["loss"] == pytest.approx(found[1].history[-1]["loss"], rel=1e-4)
    assert found[0].history[-1]["samples"] == found[1].history[-1]["samples"]


@pytest.mark.parametrize(
    ("method", "more", "problem"),
    [
        ("psl", {"stragglers": "quorum:2", "clock": None}, "nobody is late without a clock"),
        ("psl", {"stragglers": "quorum:9"}, "only 4 clients are at work"),
        ("psl", {"stragglers": "deadline"}, "deadline has no seconds"),
        ("psl", {"stragglers": "deadlin:3"}, "did you mean 'deadline'"),
        ("psl", {"stragglers": "deadline:-1"}, "seconds"),
        ("psl", {"stragglers": "quorum:2", "tail": "fc2"}, "a step has two exchanges"),
        ("psl", {"stragglers": "quorum:2", "accumulate": 2}, "as accumulate needs"),
        ("psl", {"stragglers": "quorum:2", "short_clients": "cycle"}, "as short_clients needs"),
        ("fl", {"stragglers": "quorum:2"}, "take no steps together"),
        ("ssl", {"stragglers": "quorum:2"}, "train one after another"),
        ("cse-fsl", {"stragglers": "quorum:2", "h": 2}, "heads of their own"),
        ("gas", {"stragglers": "quorum:2"}, "batching clock says who is in a step"),
        ("cyclesl", {"stragglers": "buffer:2"}, "can't weigh old batches less"),
        ("gas", {"batching": "clock:5"}, "need no spread"),
    ],
)
def test_what_a_method_or_setting_can_not_have_is_refused(
    method: str, more: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    settings = {name: value for name, value in {**TINY, **CLOCK, **more}.items() if value is not None}
    with pytest.raises(UsageError, match=problem):
        sglr.train(method, **settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
