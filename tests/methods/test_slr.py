"""PSL with SplitLr, eq. 11-13, by hand."""

from __future__ import annotations

import pytest

from sglr.core.errors import UsageError
from sglr.methods.slr import SLR


@pytest.mark.parametrize(
    ("sizes", "alpha", "factor"),
    [
        ((2, 2, 2), 1.0, 3.0),  # eq. 13: |C|^α
        ((2, 2, 2), 0.5, 3.0**0.5),
        ((2, 2, 2, 2), 2.0, 16.0),
        ((2, 3, 1), 1.0, 2.0),  # eq. 12: (Σ|B_i| / b)^α with b = 3
        ((2, 3, 1), 1.5, 2.0**1.5),
        ((4,), 1.5, 1.0),  # one client: off
        ((2, 2, 2), 0.0, 1.0),
    ],
)
def test_only_the_server_learns_faster(problem, close, sizes, alpha: float, factor: float) -> None:
    p = problem(sizes)
    trainer = p.build(SLR(alpha), rate=0.5, server_rate=0.125).run()
    g = [p.gradients(i) for i in range(len(sizes))]
    g_s = sum(share * g[i].server.mean(0) for i, share in enumerate(p.shares))
    close(trainer.server.segment.weight, p.w_s - 0.125 * factor * g_s)
    assert trainer.server.last_rate == pytest.approx(0.125 * factor)
    for i in range(len(sizes)):
        close(trainer.engine.collect((i,))["weight"][0], p.w_c[i] - 0.5 * g[i].client.mean(0))


def test_absent_clients_do_not_count(problem) -> None:
    training = problem((2, 2, 2, 2)).build(SLR(alpha=1.0), server_rate=0.125, participation=0.5)
    assert training.run().server.last_rate == 0.25


def test_clients_that_have_no_batch_left_do_not_count(problem) -> None:
    """Batches of two: three clients step together once, then one goes on alone."""
    training = problem((2, 4, 2)).build(SLR(alpha=1.0), server_rate=0.125, batch=2)
    trainer = training.build()
    rates: list[float] = []
    trainer.hooks.observe = lambda _: rates.append(trainer.server.last_rate)
    trainer.run()
    assert sorted(set(rates)) == [0.125, 0.375]


@pytest.mark.parametrize("alpha", [-0.5, float("nan"), float("inf")])
def test_refuses_an_exponent_that_makes_no_sense(alpha: float) -> None:
    with pytest.raises(UsageError, match=r"alpha = .*: is not a number ≥ 0; give 0 \(off\), 0\.5, 1"):
        SLR(alpha)
