"""A network that cuts, delays, repeats and refuses changes nothing in the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sglr.engines.remote.client.connection import ClientConnection
from sglr.engines.remote.server.outbox import Outbox

from .federation import Federation
from .undisturbed import (
    WITH_MEMORY,
    at_steps,
    ends_as_undisturbed,
    later,
    through,
    with_and_without_shared_segments,
)


@pytest.mark.parametrize("way", ["up", pytest.param("down", marks=pytest.mark.slow)])
@with_and_without_shared_segments
def test_connections_are_cut_at_many_points(settings, way, proxy, tmp_path):
    federation = Federation(tmp_path, settings, ready=through(proxy))
    points = zip([(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)], [1, 300, 900, 2000, 60], strict=True)

    def cut(number: int) -> Callable[[], None]:
        return lambda: proxy.cut_after(number, way)

    run = federation.train(observe=at_steps(*((where, cut(number)) for where, number in points)))
    ends_as_undisturbed(federation, run)
    assert sum(state.connections for state in federation.engine.connections.states) >= 3 + 3


@pytest.mark.slow
def test_a_slow_line_changes_nothing(proxy, tmp_path):
    federation = Federation(tmp_path, WITH_MEMORY, ready=through(proxy))
    proxy.delay(0.02, jitter=0.02)
    proxy.throttle(200_000)
    ends_as_undisturbed(federation, federation.train())


@pytest.mark.slow
def test_a_peer_that_is_half_open_heals(proxy, tmp_path):
    federation = Federation(tmp_path, WITH_MEMORY, ready=through(proxy))

    def stall() -> None:
        proxy.half_open()
        later(1.0, proxy.heal)

    ends_as_undisturbed(federation, federation.train(observe=at_steps(((0, 2), stall), ((1, 1), stall))))


@pytest.mark.slow
def test_a_server_that_refuses_connections_for_a_while(proxy, tmp_path):
    federation = Federation(tmp_path, WITH_MEMORY, ready=through(proxy))

    def refuse() -> None:
        proxy.refuse()
        proxy.reset()
        later(1.5, proxy.heal)

    ends_as_undisturbed(federation, federation.train(observe=at_steps(((0, 2), refuse))))


@with_and_without_shared_segments
def test_messages_that_come_twice_and_out_of_order_are_done_once(settings, monkeypatch, tmp_path):
    put, serve, earlier = Outbox.put, ClientConnection._serve, dict[Outbox, list[bytes]]()

    def put_more(outbox: Outbox, frame: bytes) -> bool:
        before = earlier.setdefault(outbox, [])
        before.append(frame)
        return all(put(outbox, again) for again in (frame, *before[1:][-3:], *before[1:2]))

    class Twice:
        def __init__(self, call: Any) -> None:
            self.call = call

        async def write(self, answer: bytes) -> None:
            await self.call.write(answer)
            await self.call.write(answer)

    monkeypatch.setattr(Outbox, "put", put_more)
    monkeypatch.setattr(ClientConnection, "_serve", lambda client, call, data: serve(client, Twice(call), data))
    federation = Federation(tmp_path, settings)
    ends_as_undisturbed(federation, federation.train())
