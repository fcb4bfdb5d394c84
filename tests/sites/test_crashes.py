"""Clients and servers that die at any moment, and what they lose: nothing that counts."""

from __future__ import annotations

import shutil
import threading
import time
from typing import Any

import pytest

from sglr.core.errors import UsageError
from sglr.core.events import EpochDone, Event
from sglr.engines.remote.client.held_out import HeldOut
from sglr.engines.remote.server import client_state as presences
from sglr.experiment import recorder
from sglr.runs.folder import Run

from .federation import Federation
from .undisturbed import (
    SHARED,
    SHORT,
    WITH_MEMORY,
    PowerCutError,
    at_steps,
    dies_at,
    ends_as_undisturbed,
    until,
)


@pytest.mark.parametrize(
    "settings",
    [
        SHORT,
        pytest.param({**SHARED, "checkpoint_every": 2}, marks=pytest.mark.slow),
        pytest.param({**SHORT, "batching": "global"}, marks=pytest.mark.slow),
    ],
    ids=["sglr", "sfl", "global"],
)
def test_clients_that_lose_their_memory_send_all_back_to_a_checkpoint(settings, tmp_path):
    federation = Federation(tmp_path, settings, groups=[(0,), (1, 2)])
    # After a checkpoint and between two; one group, then the other.
    crashes = [((0, 1), 0), ((0, 2), 1), ((0, 3), 0), ((1, 1), 1), ((1, 2), 0)]
    observe = at_steps(*((where, lambda group=group: federation.crash(group)) for where, group in crashes))
    ends_as_undisturbed(federation, federation.train(observe=observe))


@pytest.mark.slow
def test_clients_that_die_after_a_snapshot_lose_only_what_came_after_it(tmp_path):
    federation = Federation(tmp_path, {**SHARED, "checkpoint_every": 1}, groups=[(0,), (1, 2)])
    save, crashed = recorder.save_checkpoint, list[int]()

    def save_and_crash(run: Run, steps: int, *args: Any, **named: Any) -> None:
        save(run, steps, *args, **named)
        if steps in (0, 1, 3, 5) and steps not in crashed:
            crashed.append(steps)
            federation.crash(steps % 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "save_checkpoint", save_and_crash)
        run = federation.train()
    assert crashed == [0, 1, 3, 5]
    ends_as_undisturbed(federation, run)


@pytest.mark.slow
def test_a_client_that_dies_between_its_snapshot_and_the_checkpoint(tmp_path):
    federation = Federation(tmp_path, SHORT, groups=[(0,), (1, 2)])
    save, crashed = recorder.save_checkpoint, list[int]()

    def crash_and_save(run: Run, steps: int, *args: Any, **named: Any) -> None:
        if steps in (2, 4, 6) and steps not in crashed:
            crashed.append(steps)
            federation.crash(1)
        save(run, steps, *args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "save_checkpoint", crash_and_save)
        ends_as_undisturbed(federation, federation.train())
    assert crashed == [2, 4, 6]


@pytest.mark.slow
def test_a_client_that_dies_during_the_test(tmp_path, monkeypatch):
    federation = Federation(tmp_path, SHORT, groups=[(0,), (1, 2)])
    score, crashed = HeldOut.score, threading.Event()

    def score_and_crash(held_out: HeldOut, part: str, *args: Any, **named: Any) -> Any:
        if part == "test" and held_out._job.client == 2 and not crashed.is_set():
            crashed.set()
            threading.Thread(target=federation.crash, args=(1,)).start()
            until(federation.leaving.is_set)
        return score(held_out, part, *args, **named)

    monkeypatch.setattr(HeldOut, "score", score_and_crash)
    run = federation.train()
    assert crashed.is_set()
    ends_as_undisturbed(federation, run)


@pytest.mark.parametrize(
    ("settings", "deaths"),
    [
        (SHORT, [(0, 1), (0, 3), (1, 2)]),
        # Two processes in a row die at the same step, far from a checkpoint.
        ({**WITH_MEMORY, "batching": "global:20"}, [(0, 2), (0, 2), (1, 2)]),
        pytest.param({**SHORT, "batching": "proportional:20"}, [(0, 1), (0, 3), (1, 2)], marks=pytest.mark.slow),
    ],
    ids=["local", "global:20", "proportional:20"],
)
def test_a_server_that_dies_again_and_again(settings, deaths, tmp_path):
    federation = Federation(tmp_path, settings, groups=[(0,), (1, 2)])
    with pytest.raises(PowerCutError):
        federation.train(observe=dies_at(*deaths[0]))
    for where in deaths[1:]:
        with pytest.raises(PowerCutError):
            federation.go_on(observe=dies_at(*where))
    ends_as_undisturbed(federation, federation.go_on())


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["site-1", "server"])
def test_a_torn_file_sends_all_back_to_the_step_before(whose, tmp_path):
    federation = Federation(tmp_path, SHORT, groups=[(0,), (1,), (2,)])
    with pytest.raises(PowerCutError):
        federation.train(observe=dies_at(1, 2))
    [newest] = (tmp_path / whose).rglob("step-000000004.safetensors")
    newest.write_bytes(newest.read_bytes()[:-7])
    said: list[str] = []
    ends_as_undisturbed(federation, federation.go_on(say=said.append))
    assert any("going back to the checkpoint before it" in line for line in said)


def test_a_client_whose_snapshots_are_gone_is_named_with_what_to_do(tmp_path):
    federation = Federation(tmp_path, SHORT, groups=[(0,), (1,), (2,)])
    with pytest.raises(PowerCutError):
        federation.train(observe=dies_at(1, 2))
    [snapshots] = (tmp_path / "site-1").rglob("snapshots")
    shutil.rmtree(snapshots)
    with pytest.raises(UsageError, match=r"client 1 has no snapshot.*start that client with the folder it had"):
        federation.go_on()
    # Nothing was destroyed by trying.
    assert len(list((tmp_path / "server" / "checkpoints").glob("step-*"))) == 3


@pytest.mark.slow
def test_clients_that_missed_the_end_hear_of_it_from_the_same_command(tmp_path):
    federation = Federation(tmp_path, WITH_MEMORY, groups=[(0,), (1, 2)])

    def leave_and_die(event: Event) -> None:
        if isinstance(event, EpochDone) and event.epoch == 1:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        federation.train(observe=leave_and_die)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sglr.engines.remote.engine.Remote.close", _power_cut)
        with pytest.raises(PowerCutError):
            federation.go_on()
    assert Run.open(tmp_path / "server").summary is not None
    assert federation.ends == [False] * 6
    run = federation.go_on()
    assert federation.ends[6:] == [True] * 3
    assert {state.presence for state in federation.engine.connections.states} == {presences.DONE}
    ends_as_undisturbed(federation, run)
    # They keep it in mind, even where no server is left to tell them again.
    for number in (0, 1):
        federation.again(number)
    until(lambda: len(federation.ends) == 12)
    federation.end()
    assert federation.problems == []
    assert federation.ends[9:] == [True] * 3
    # Who heard is not waited for again.
    started = time.monotonic()
    resumed = Federation(tmp_path, WITH_MEMORY, groups=[])
    resumed.go_on()
    assert time.monotonic() - started < 8


def _power_cut(engine: Any, **how: Any) -> None:
    engine._exchange.runtime.close("stopped")
    raise PowerCutError
