"""Clients of one process compute one at a time: short work at once, other work in a thread."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from sglr.engines.remote.client.computing import SHORT_SECONDS, Computing, Durations


def test_short_work_is_done_at_once_and_long_work_in_a_thread() -> None:
    async def run() -> tuple[str, str]:
        with Computing() as computing:
            name = threading.current_thread
            return await computing.run(lambda: name().name, short=True), await computing.run(
                lambda: name().name, short=False
            )

    short, long = asyncio.run(run())
    assert short == "MainThread"
    assert long.startswith("sglr-computing")


def test_work_is_never_done_beside_other_work() -> None:
    under_way, most = 0, 0

    def work() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        time.sleep(0.002)
        under_way -= 1

    async def run() -> None:
        with Computing() as computing:
            await asyncio.gather(*(computing.run(work, short=number % 3 > 0) for number in range(30)))
            assert computing.idle

    asyncio.run(run())
    assert most == 1


def test_a_client_that_is_cancelled_does_not_let_others_compute_beside_its_work() -> None:
    seen: list[str] = []

    async def run() -> None:
        with Computing() as computing:

            def slow() -> None:
                time.sleep(0.1)
                seen.append("slow")

            first = asyncio.create_task(computing.run(slow, short=False))
            await asyncio.sleep(0.01)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await computing.run(lambda: seen.append("short"), short=True)

    asyncio.run(run())
    assert seen == ["slow", "short"]


def test_errors_reach_who_asked() -> None:
    async def run(*, short: bool) -> None:
        with Computing() as computing:
            await computing.run(lambda: 1 / 0, short=short)

    for short in (True, False):
        with pytest.raises(ZeroDivisionError):
            asyncio.run(run(short=short))


def test_what_is_short_is_known_from_the_last_time() -> None:
    durations = Durations(frozenset({"gradient"}))
    assert not durations.short("gradient")
    durations.timed("gradient", lambda: None)
    durations.timed("snapshot", lambda: None)
    assert durations.short("gradient")
    assert not durations.short("snapshot"), "it writes files"

    def busy() -> None:
        until = time.thread_time() + 2 * SHORT_SECONDS
        while time.thread_time() < until:
            pass

    durations.timed("gradient", busy)
    assert not durations.short("gradient")
