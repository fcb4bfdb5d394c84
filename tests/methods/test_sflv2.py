"""SplitFed v2: the one server segment takes clients in random turn."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from sglr.methods.sflv2 import SFLV2


def in_turn(p, order):
    """Work out a step: each client's gradients are of the server as the client before left it."""
    w_s, cut = p.w_s, [np.zeros((max(p.sizes), 2)) for _ in p.sizes]
    for i in order:
        g = p.gradients(i, w_s=w_s)
        cut[i][: p.sizes[i]] = g.cut / p.sizes[i]
        w_s = w_s - 0.5 * g.server.mean(0)
    return w_s, np.stack(cut)


def test_the_server_steps_once_per_client_in_some_order_and_another_next_time(problem, context) -> None:
    p = problem((2, 3, 1))
    seen = set()
    for seed in range(12):
        server = p.server()
        cut = SFLV2().exchange(server, p.uplink(), context(seed, rate=0.5)).gradients.numpy()
        weight = server.segment.weight.detach().numpy()
        matching = [
            order
            for order in permutations(range(3))
            if np.allclose(weight, in_turn(p, order)[0], atol=1e-5)
            and np.allclose(cut, in_turn(p, order)[1], atol=1e-5)
        ]
        assert len(matching) == 1
        seen.add(matching[0])
    assert len(seen) > 2


def test_the_same_random_numbers_give_the_same_order(problem, context) -> None:
    p = problem((2, 3, 1))
    first, second = (SFLV2().exchange(p.server(), p.uplink(), context(5, rate=0.5)).gradients for _ in range(2))
    assert np.array_equal(first, second)


def test_client_segments_are_averaged_after_the_epoch(problem, close) -> None:
    p = problem((2, 3))
    trainer = p.build(SFLV2(), rate=0.5).run()
    outcomes = []
    for order in permutations(range(2)):
        w_s, w_c = p.w_s, {}
        for i in order:
            g = p.gradients(i, p.w_c[0], w_s)
            w_c[i] = p.w_c[0] - 0.5 * g.client.mean(0)
            w_s = w_s - 0.5 * g.server.mean(0)
        outcomes.append((2 / 5 * w_c[0] + 3 / 5 * w_c[1], w_s))
    first = np.allclose(trainer.server.segment.weight.detach().numpy(), outcomes[0][1], atol=1e-6)
    wanted = outcomes[0 if first else 1]
    close(trainer.shared["weight"], wanted[0])
    close(trainer.server.segment.weight, wanted[1])
