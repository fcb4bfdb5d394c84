"""Reading a server's status, noticing that it is no more, and who is slow."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.errors import UsageError
from sglr.core.events import EpochDone, StepDone
from sglr.sites import serve
from sglr.sites.status import STALE_SECONDS, is_stale, read_status, slow_clients


def clients(*answers: float | None) -> list[dict[str, object]]:
    return [{"client": number, "answer_ms": answer} for number, answer in enumerate(answers)]


def test_who_takes_twice_as_long_as_the_others_is_slow():
    assert slow_clients(clients(10, 12, 11, 40)) == {3}
    assert slow_clients(clients(10, 12, 11, 19)) == set()
    assert slow_clients(clients(10, None, 30)) == {2}


@given(st.floats(min_value=0.1, max_value=1e6), st.integers(min_value=0, max_value=20))
def test_equals_are_not_slow_nor_is_one_alone(milliseconds, number):
    assert slow_clients(clients(*[milliseconds] * number)) == set()


def test_a_server_that_writes_no_more_is_stale_unless_it_is_over():
    now = 1e9
    assert is_stale({"state": "training", "updated": now - STALE_SECONDS - 1}, now)
    assert not is_stale({"state": "training", "updated": now - 1}, now)
    assert not is_stale({"state": "done", "updated": 0}, now)


def test_what_is_no_status_is_told(tmp_path):
    with pytest.raises(UsageError, match="no server has run in this folder"):
        read_status(tmp_path)
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(UsageError, match="was not served"):
        read_status(tmp_path)
    for text in ("{", "[]", "{}", json.dumps({"clients": 3})):
        (tmp_path / "status.json").write_text(text)
        with pytest.raises(UsageError, match="cannot be read"):
            read_status(tmp_path)


@given(
    st.lists(st.tuples(st.floats(0.001, 20), st.integers(1, 500)), min_size=1, max_size=60),
    st.integers(0, 60),
)
def test_the_speed_is_the_samples_of_the_last_ten_seconds_over_their_time(steps, epoch_ends):
    clock, seen = 0.0, []
    tracker = serve.ProgressTracker(lambda _: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "monotonic", lambda: clock)
        for number, (gap, samples) in enumerate(steps):
            if number == epoch_ends:
                tracker.observe(EpochDone(0, 2, {}))
                seen = []
            clock += gap
            seen.append((clock, samples))
            tracker.observe(StepDone(0, 2, number, len(steps), samples))
    recent = [(at, samples) for at, samples in seen if clock - at <= serve.PACE_SECONDS]
    (began, _), *counted = recent if len(recent) > 1 else seen[-2:]
    wanted = sum(samples for _, samples in counted) / (clock - began) if counted else None
    assert tracker.describe()["samples_per_second"] == (wanted and pytest.approx(wanted))
