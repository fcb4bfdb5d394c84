"""Who comes late, misses deadlines or comes back."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from sglr.core.errors import SglrError
from sglr.engines.remote.client.held_out import HeldOut
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.server import barrier
from sglr.engines.remote.server import client_state as presences
from sglr.engines.remote.trust.clock import now_utc
from sglr.runs.folder import Run
from sglr.sites import join as joining
from sglr.storage.checkpoint import digest

from .federation import Federation
from .undisturbed import (
    SHARED,
    WITH_MEMORY,
    PowerCutError,
    at_steps,
    dies_at,
    ends_as_undisturbed,
    through,
    undisturbed,
    until,
    with_and_without_shared_segments,
)


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> dict[int, LocalTrainer]:
    """Look at what clients hold: the newest worker of each."""
    found: dict[int, LocalTrainer] = {}
    make = joining.make_trainers

    def make_and_note(*args: Any) -> list[LocalTrainer]:
        made = make(*args)
        found.update({trainer.job.client: trainer for trainer in made})
        return made

    monkeypatch.setattr(joining, "make_trainers", make_and_note)
    return found


def with_a_late_joiner(
    settings: dict[str, Any], folder: Path, trainers: dict[int, LocalTrainer]
) -> tuple[Federation, Run]:
    federation = Federation(folder, {**settings, "min_clients": 2}, groups=[(1, 2)])

    def come() -> None:
        federation.start(1, (0,))
        until(lambda: federation.engine.connections.states[0].presence == presences.HERE)

    loads: list[str] = []
    load = LocalTrainer.take_up

    def load_and_note(trainer: LocalTrainer, weights: Any) -> None:
        if trainer.job.client == 0:
            loads.append(digest(weights))
        load(trainer, weights)

    def compare() -> None:
        if settings["method"] == "sfl":
            assert loads == [digest(federation.engine._shared.published)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalTrainer, "take_up", load_and_note)
        run = federation.train(observe=at_steps(((0, 1), come), ((0, 2), compare)))
    assert federation.problems == []
    return federation, run


@pytest.mark.slow
@with_and_without_shared_segments
def test_who_joins_late_takes_part_from_the_next_step_on(settings, trainers, tmp_path):
    _, first = with_a_late_joiner(settings, tmp_path / "first", trainers)
    _, second = with_a_late_joiner(settings, tmp_path / "second", trainers)
    # The same arrivals, the same weights; others than if all had been there.
    assert first.summary["weights_sha256"] == second.summary["weights_sha256"] != undisturbed(settings)
    sent = [record["samples"] for record in first.history]
    assert sent == [3 * 20 - 8, 2 * 3 * 20 - 8]


@pytest.mark.slow
def test_by_a_rule_too_whose_number_of_samples_is_known_takes_part_from_the_next_step_on(trainers, tmp_path):
    settings = {**WITH_MEMORY, "batching": "proportional:24"}
    _, first = with_a_late_joiner(settings, tmp_path / "first", trainers)
    _, second = with_a_late_joiner(settings, tmp_path / "second", trainers)
    assert first.summary["weights_sha256"] == second.summary["weights_sha256"]
    assert [record["samples"] for record in first.history] == [3 * 20 - 8, 2 * 3 * 20 - 8]


@pytest.mark.slow
def test_by_a_rule_what_an_absent_client_would_have_used_is_not_used(proxy, tmp_path):
    chosen = {"samples_per_client": 96, "step_deadline": 0.4, "max_misses": 3, "epochs": 1, "batching": "proportional"}
    federation = Federation(tmp_path, {**WITH_MEMORY, **chosen}, through(proxy), groups=[(0, 1), (2,)], direct=[0])

    def dropped() -> None:
        state = federation.engine.connections.states[2]
        assert state.presence == presences.OUT
        proxy.heal()
        until(lambda: state.presence == presences.HERE)

    run = federation.train(observe=at_steps(((0, 2), proxy.half_open), ((0, 6), dropped)))
    assert federation.problems == []
    # Equal clients have equal batches, of eight: three or four of them passed without it.
    assert 96 * 3 - run.history[0]["samples"] in (3 * 8, 4 * 8)


@pytest.mark.parametrize(
    "settings",
    [
        WITH_MEMORY,
        pytest.param(SHARED, marks=pytest.mark.slow),
        pytest.param({"method": "sglr", "pipelining": True}, marks=pytest.mark.slow),
    ],
    ids=["sglr", "sfl", "ahead"],
)
def test_who_misses_deadlines_is_absent_then_dropped_and_comes_back(settings, trainers, proxy, tmp_path):
    chosen = {"samples_per_client": 96, "step_deadline": 0.4, "max_misses": 3, "epochs": 1}
    federation = Federation(tmp_path, {**settings, **chosen}, through(proxy), groups=[(0, 1), (2,)], direct=[0])
    told: dict[str, Any] = {}

    def state() -> presences.ClientState:
        return federation.engine.connections.states[2]

    def absent() -> None:
        assert state().misses > 0
        told["absent"] = trainers[2].digest()

    def dropped() -> None:
        assert state().presence == presences.OUT
        assert "missed 3 deadlines in a row" in state().reason
        assert state().describe()["absences"] == 3
        told["dropped"] = trainers[2].digest()
        proxy.heal()
        until(lambda: state().presence == presences.HERE)

    # The third step's smashed data may be there already: the first without it is the third or the fourth. Who computes
    # a step ahead has sent the third step's for sure, and maybe the fourth's: it is the fourth or the fifth.
    ahead = int(settings.get("pipelining", False))
    later = ((0, 4 + ahead), absent), ((0, 6 + ahead), dropped)
    run = federation.train(observe=at_steps(((0, 2), proxy.half_open), *later))
    assert federation.problems == []
    assert told["absent"] == told["dropped"] != trainers[2].digest()
    assert state().presence == presences.DONE
    # Where all compute a step ahead, the others may have been asked for the next one when it came back.
    assert 96 * 3 - run.history[0]["samples"] in range(3 * 8, (4 + ahead) * 8 + 1, 8)


def test_with_a_deadline_a_run_goes_on_with_those_who_come_back(tmp_path):
    settings = {**SHARED, "step_deadline": 5.0, "min_clients": 3, "checkpoint_every": 2}
    federation = Federation(tmp_path, settings, groups=[(0,), (1,), (2,)])
    with pytest.raises(PowerCutError):
        federation.train(observe=dies_at(1, 1))
    [snapshots] = (tmp_path / "site-1").rglob("snapshots")
    shutil.rmtree(snapshots)
    config = tmp_path / "server" / "config.toml"
    config.write_text(config.read_text().replace("min_clients = 3", "min_clients = 2"))
    federation.groups = [(0,), (1,)]
    run = federation.go_on()
    assert federation.problems == []
    assert [state.presence for state in federation.engine.connections.states] == [
        presences.DONE,
        presences.DONE,
        presences.NEVER,
    ]
    # The newest checkpoint is that of the first epoch; the second is that of two.
    assert [record["samples"] for record in run.history] == [60, 60 + 2 * 20]


class Skipping:
    """A clock that everybody's stop for a minute shows on, seen by whoever looks while a step waits."""

    def __init__(self, waiting: Callable[[], bool]) -> None:
        self.waiting, self.skipped = waiting, 0.0

    def monotonic(self) -> float:
        if not self.skipped and self.waiting():
            self.skipped = 60.0
        return time.monotonic() + self.skipped


@pytest.mark.slow
def test_nobody_misses_a_deadline_while_the_server_itself_is_stopped(tmp_path, monkeypatch):
    slow, forward = threading.Event(), LocalTrainer.forward

    def forward_late(trainer: LocalTrainer, *args: Any) -> Any:
        if trainer.job.client == 2 and args[1] == 2:
            slow.set()
            time.sleep(0.5)
        return forward(trainer, *args)

    clock = Skipping(slow.is_set)
    monkeypatch.setattr(LocalTrainer, "forward", forward_late)
    monkeypatch.setattr(barrier, "time", clock)
    federation = Federation(tmp_path, {**WITH_MEMORY, "step_deadline": 20.0})
    ends_as_undisturbed(federation, federation.train())
    assert clock.skipped


@pytest.mark.slow
def test_whose_certificate_expires_is_waited_for_until_it_has_another_or_the_clock_is_right(tmp_path):
    federation = Federation(tmp_path, WITH_MEMORY, groups=[(0, 1), (2,)])

    def clock_jumps() -> None:
        connections, authority = federation.engine.connections, federation.authority
        right, authority._now = authority._now, lambda: now_utc() + timedelta(days=400)
        until(lambda: all(not thread.is_alive() for thread in federation.threads))
        assert {state.presence for state in connections.states} == {presences.AWAY}
        assert "has expired" in connections.states[0].reason
        authority._now = right
        federation.problems.clear()
        for number in (0, 1):
            federation.again(number)

    ends_as_undisturbed(federation, federation.train(observe=at_steps(((0, 1), clock_jumps))))


def test_a_test_to_whose_end_no_client_stays_is_an_error(tmp_path, monkeypatch):
    score = HeldOut.score

    def without_labels(held_out: HeldOut, part: str, *args: Any, **named: Any) -> dict[str, Tensor]:
        parts = score(held_out, part, *args, **named)
        return {"values": parts["values"]} if part == "test" else parts

    monkeypatch.setattr(HeldOut, "score", without_labels)
    federation = Federation(tmp_path, {"method": "sglr", "epochs": 1})
    with pytest.raises(SglrError, match="no client stayed to the end of the test; resume the run to test again"):
        federation.train()
    assert Run.open(tmp_path / "server").summary is None
