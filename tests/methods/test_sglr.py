"""The paper's method: one whole step of Algorithm 1, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sglr.core.errors import UsageError
from sglr.methods.sglr import SGLR


def test_one_step_of_algorithm_1(problem, close) -> None:
    p = problem((1, 1, 1))
    trainer = p.build(SGLR(alpha=1.5, phi=1.0), rate=0.5).run()
    g = [p.gradients(i) for i in range(3)]
    g_s = (g[0].server[0] + g[1].server[0] + g[2].server[0]) / 3
    close(trainer.server.segment.weight, p.w_s - 0.5 * 3**1.5 * g_s)
    average = (g[0].cut[0] + g[1].cut[0] + g[2].cut[0]) / 3
    for i in range(3):
        close(trainer.engine.collect((i,))["weight"][0], p.w_c[i] - 0.5 * np.outer(average, p.x[i][0]))


def test_phases_switch_splitavg_and_leave_splitlr_on(problem, close) -> None:
    p = problem((1, 1))
    trainer = p.build(SGLR(alpha=1.0, phi=1.0, phase="first:0.5"), rate=0.5, epochs=2).run()
    w_s, w_c = p.w_s, list(p.w_c)
    for averaged in (True, False):
        g = [p.gradients(i, w_c[i], w_s) for i in range(2)]
        mean = (g[0].cut[0] + g[1].cut[0]) / 2
        cut = [mean, mean] if averaged else [g[0].cut[0], g[1].cut[0]]
        w_c = [w_c[i] - 0.5 * np.outer(cut[i], p.x[i][0]) for i in range(2)]
        w_s = w_s - 0.5 * 2 * (g[0].server[0] + g[1].server[0]) / 2
    close(trainer.engine.collect((0, 1))["weight"], np.stack(w_c))
    close(trainer.server.segment.weight, w_s)


def test_unequal_batches_average_over_those_that_have_a_sample(problem, context, close) -> None:
    p = problem((2, 3, 1))
    server = p.server()
    found = SGLR(alpha=1.0, phi=1.0).exchange(server, p.uplink(), context(rate=0.125)).gradients
    own = [p.gradients(i).cut / n for i, n in enumerate(p.sizes)]
    first = (own[0][0] + own[1][0] + own[2][0]) / 3
    second = (own[0][1] + own[1][1]) / 2
    close(found[0, :2], np.stack([first, second]))
    close(found[1], np.stack([first, second, own[1][2]]))
    close(found[2, 0], first)
    assert server.last_rate == 0.125 * 6 / 3


def test_clients_never_exchange_weights(problem) -> None:
    """Same data, same gradient: clients still differ, for they began with other weights."""
    p = problem((2, 2, 2))
    trainer = p.build(SGLR(phi=1.0), rate=0.5).run()
    found = trainer.engine.collect((0, 1, 2))["weight"]
    assert not np.array_equal(found[0], found[1])
    assert trainer.shared == {}


@pytest.mark.parametrize(
    ("options", "field"),
    [({"alpha": -1.0}, "alpha"), ({"phi": 2.0}, "phi"), ({"average": "mean"}, "average"), ({"phase": "none"}, "phase")],
)
def test_refuses_parameters_that_make_no_sense(options, field: str) -> None:
    with pytest.raises(UsageError, match=f"^{field} = "):
        SGLR(**options)
