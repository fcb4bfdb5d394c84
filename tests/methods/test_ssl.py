"""Sequential split learning, eq. 1-3, by hand: one client at a time, its segment handed to the next."""

from __future__ import annotations

import numpy as np

from sglr.core.events import StepDone, Traffic
from sglr.methods.ssl import SSL


def visits(events) -> list[int]:
    return [event.clients[0] for event in events if isinstance(event, Traffic) and event.kind == "smashed"]


def test_each_client_goes_on_from_the_weights_of_the_one_before(problem, close, events) -> None:
    p = problem((2, 3, 1))
    training = p.build(SSL(), rate=0.5, server_rate=0.25, epochs=2)
    training.hooks.observe = events.append
    trainer = training.run()
    w_c, w_s = p.w_c[0], p.w_s
    order = visits(events)
    assert len(order) == 6
    for i in order:
        g = p.gradients(i, w_c, w_s)
        w_c, w_s = w_c - 0.5 * g.client.mean(0), w_s - 0.25 * g.server.mean(0)
    close(trainer.shared["weight"], w_c)
    close(trainer.server.segment.weight, w_s)


def test_a_client_passes_over_all_its_data_before_it_hands_on(problem, close, events) -> None:
    p = problem((4, 2), same=True)
    training = p.build(SSL(), rate=0.5, batch=2)
    training.hooks.observe = events.append
    trainer = training.run()
    order = visits(events)
    assert order in ([0, 0, 1], [1, 0, 0])
    w_c, w_s = p.w_c[0], p.w_s
    for i in order:
        g = p.gradients(i, w_c, w_s)
        w_c, w_s = w_c - 0.5 * g.client[0], w_s - 0.5 * g.server[0]
    close(trainer.shared["weight"], w_c)
    close(trainer.server.segment.weight, w_s)


def test_handing_on_is_received_sent_received_sent(problem, events) -> None:
    training = problem((2, 2, 2)).build(SSL())
    training.hooks.observe = events.append
    training.run()
    handed = [(event.up, event.clients) for event in events if isinstance(event, Traffic) and event.kind == "weights"]
    order = visits(events)
    assert handed == [(up, (client,)) for client in order for up in (False, True)]


def test_every_epoch_has_a_new_order_of_all_clients() -> None:
    rng = np.random.default_rng(0)
    orders = [[client for (client,) in SSL().cohorts((1, 3, 4, 7, 8), rng)] for _ in range(20)]
    assert all(sorted(order) == [1, 3, 4, 7, 8] for order in orders)
    assert len({tuple(order) for order in orders}) > 10


def test_steps_are_counted_over_all_clients(problem, events) -> None:
    training = problem((2, 2, 2)).build(SSL(), batch=1)
    training.hooks.observe = events.append
    training.run()
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.step for event in steps] == [1, 2, 3, 4, 5, 6]
    assert {event.steps for event in steps} == {6}
