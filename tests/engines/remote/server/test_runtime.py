"""Who comes late to hear that the training is over is given time to hear it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sglr.engines.remote.server import runtime
from sglr.engines.remote.server.client_state import AWAY, HERE, ClientState
from sglr.engines.remote.server.runtime import FAREWELL_SECONDS, LATE_SECONDS, Farewell


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = SimpleNamespace(now=1000.0)
    found.monotonic = lambda: found.now
    monkeypatch.setattr(runtime, "time", found)
    return found


def test_who_comes_late_has_as_long_as_those_who_were_here(clock):
    state, farewell = ClientState(0, presence=AWAY), Farewell()
    clock.now += FAREWELL_SECONDS + 5
    assert not farewell.over([state])
    state.presence = HERE
    for _ in range(int(FAREWELL_SECONDS)):
        assert not farewell.over([state])
        clock.now += 1
    clock.now += 1
    assert farewell.over([state])


def test_who_comes_and_goes_does_not_keep_it_for_ever(clock):
    state, farewell = ClientState(0, presence=AWAY), Farewell()
    while not farewell.over([state]):
        clock.now += 1
        state.presence = AWAY if state.presence == HERE else HERE
    assert clock.now <= 1000 + LATE_SECONDS + 2


def test_those_who_are_here_have_the_shorter_time(clock):
    farewell = Farewell()
    clock.now += FAREWELL_SECONDS + 1
    assert farewell.over([ClientState(0, presence=HERE)])
