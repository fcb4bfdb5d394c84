"""PSL with SplitAvg, eq. 15-16 and the phases of Table 3, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sglr.core.errors import UsageError
from sglr.methods.sgl import SGL


def test_active_clients_back_propagate_the_mean_of_their_cut_gradients(problem, close) -> None:
    p = problem((1, 1, 1))
    trainer = p.build(SGL(phi=1.0), rate=0.5, server_rate=0.25).run()
    g = [p.gradients(i) for i in range(3)]
    mean = (g[0].cut[0] + g[1].cut[0] + g[2].cut[0]) / 3
    found = trainer.engine.collect((0, 1, 2))["weight"]
    for i in range(3):
        close(found[i], p.w_c[i] - 0.5 * np.outer(mean, p.x[i][0]))
    close(trainer.server.segment.weight, p.w_s - 0.25 * (g[0].server[0] + g[1].server[0] + g[2].server[0]) / 3)


def test_the_server_gives_each_client_the_gradient_of_its_own_mean_loss_before_averaging(
    problem, context, close
) -> None:
    p = problem((2, 2, 2))
    found = SGL(phi=1.0).exchange(p.server(), p.uplink(), context()).gradients
    # ∂/∂s of the mean over a client's two samples is half of the sample's own.
    for j in range(2):
        mean = sum(p.gradients(i).cut[j] / 2 for i in range(3)) / 3
        close(found[:, j], np.stack([mean] * 3))


@pytest.mark.parametrize(("phi", "active"), [(0.0, 0), (0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_a_fraction_phi_is_active_and_the_rest_keep_their_own(problem, context, close, phi: float, active: int) -> None:
    p = problem((1, 1, 1, 1))
    found = SGL(phi=phi).exchange(p.server(), p.uplink(), context(3)).gradients.numpy()
    own = np.stack([p.gradients(i).cut for i in range(4)])
    changed = [i for i in range(4) if not np.allclose(found[i], own[i], atol=1e-5)]
    assert len(changed) == (active if active > 1 else 0)  # the mean of one is its own
    for i in range(4):
        close(found[i], own[changed].mean(0) if i in changed else own[i])


def test_active_clients_are_drawn_anew_every_step(problem) -> None:
    """Over the steps of a run, every client is active at times, and never the same half throughout."""
    p = problem((8, 8, 8, 8), same=True)
    trainer = p.build(SGL(phi=0.5), batch=1, rate=0.0).build()
    active: list[tuple[int, ...]] = []
    backward = trainer.engine.backward

    def note(downlink, rate: float) -> None:
        rows = [tuple(row.flatten().tolist()) for row in downlink.gradients]
        active.append(tuple(i for i, row in enumerate(rows) if rows.count(row) == 2))
        backward(downlink, rate)

    trainer.engine.backward = note
    trainer.run()
    assert len(active) == 8
    assert all(len(pair) == 2 for pair in active)
    assert len(set(active)) > 2


def test_by_class_a_sample_gets_the_mean_of_its_class(problem, context, close) -> None:
    p = problem((2, 3, 1))
    p.y = [np.array([0, 1]), np.array([1, 1, 2]), np.array([0])]
    found = SGL(phi=1.0, average="class").exchange(p.server(), p.uplink(), context()).gradients
    own = [p.gradients(i).cut / n for i, n in enumerate(p.sizes)]
    zero = (own[0][0] + own[2][0]) / 2
    one = (own[0][1] + own[1][0] + own[1][1]) / 3
    close(found[0, :2], np.stack([zero, one]))
    close(found[1], np.stack([one, one, own[1][2]]))
    close(found[2, 0], zero)


@pytest.mark.parametrize(
    ("phase", "averaged"),
    [
        ("all", {0, 1, 2, 3, 4}),
        ("first:0.6", {0, 1, 2}),
        ("first:0.4", {0, 1}),
        ("last:0.6", {2, 3, 4}),
        ("last:0.4", {3, 4}),
    ],
)
def test_phases_of_table_3(problem, context, phase: str, averaged: set[int]) -> None:
    p = problem((1, 1))
    for epoch in range(5):
        found = SGL(phi=1.0, phase=phase).exchange(p.server(), p.uplink(), context(0, epoch, 5)).gradients
        assert np.array_equal(found[0], found[1]) == (epoch in averaged)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phi": 1.5}, r"phi = 1\.5: is outside \[0, 1\]; give a fraction of clients, such as 0\.75"),
        ({"phi": -0.1}, r"phi = -0\.1: is outside"),
        ({"phi": float("nan")}, r"phi = nan: is outside"),
        (
            {"average": "positon"},
            r"average = positon: no such average; did you mean 'position'\? known: class, position",
        ),
        ({"phase": "middle"}, r"phase = middle: is not a phase; write all, first:0\.6 or last:0\.4"),
        ({"phase": "first:1.2"}, r"phase = first:1\.2: is not a phase"),
        ({"phase": "last:"}, r"phase = last:: is not a phase"),
    ],
)
def test_refuses_parameters_that_make_no_sense(options, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SGL(**options)
