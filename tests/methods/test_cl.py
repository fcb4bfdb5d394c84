"""Centralized learning: the union of all data, in batches of a client's size, and nothing sent."""

from __future__ import annotations

import numpy as np

from sglr.core.events import StepDone, Traffic
from sglr.methods.cl import CL


def test_one_model_trains_on_everyones_data(problem, close) -> None:
    p = problem((2, 3, 1))
    trainer = p.build(CL(), rate=0.5, batch=6, epochs=2).run()
    w_c, w_s = p.w_c[0], p.w_s
    for _ in range(2):
        g = [p.gradients(i, w_c, w_s) for i in range(3)]
        w_s = w_s - 0.5 * np.concatenate([g[i].server for i in range(3)]).mean(0)
        w_c = w_c - 0.5 * np.concatenate([g[i].client for i in range(3)]).mean(0)
    found = trainer.engine.collect((0,))
    close(found["0.weight"][0], w_c)
    close(found["1.weight"][0], w_s)


def test_batches_have_a_clients_size_and_nothing_is_sent(problem, events) -> None:
    training = problem((2, 3, 1)).build(CL(), batch=2)
    training.hooks.observe = events.append
    training.run()
    assert [event.samples for event in events if isinstance(event, StepDone)] == [2, 2, 2]
    assert not [event for event in events if isinstance(event, Traffic)]
