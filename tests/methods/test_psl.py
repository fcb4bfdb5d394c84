"""Parallel split learning, eq. 4-6, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sglr.methods.psl import PSL

every_size = pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 3, 1)], ids=["equal", "unequal"])


@every_size
def test_server_takes_one_step_on_the_weighted_sum_of_its_clients_gradients(problem, close, sizes) -> None:
    p = problem(sizes)
    trainer = p.build(PSL(), rate=0.5, server_rate=0.25).run()
    g_s = sum(share * p.gradients(i).server.mean(0) for i, share in enumerate(p.shares))
    close(trainer.server.segment.weight, p.w_s - 0.25 * g_s)


@every_size
def test_the_joint_loss_is_the_mean_over_all_samples(problem, sizes) -> None:
    p = problem(sizes)
    trainer = p.build(PSL(), rate=0.5).run()
    wanted = np.mean(np.concatenate([p.gradients(i).loss for i in range(3)]))
    assert trainer.server.read_metrics().mean_loss == pytest.approx(wanted, rel=1e-5)


@every_size
def test_every_client_steps_on_its_own_gradient_alone(problem, close, sizes) -> None:
    p = problem(sizes)
    trainer = p.build(PSL(), rate=0.5).run()
    found = trainer.engine.collect((0, 1, 2))["weight"]
    for i in range(3):
        # The server's step comes before the client's, but the cut gradient is of the weights before it.
        close(found[i], p.w_c[i] - 0.5 * p.gradients(i).client.mean(0))


def test_server_trains_before_the_next_step_of_clients(problem, close) -> None:
    p = problem((1, 1))
    trainer = p.build(PSL(), rate=0.5, epochs=2).run()
    w_s, w_c = p.w_s, list(p.w_c)
    for _ in range(2):
        g = [p.gradients(i, w_c[i], w_s) for i in range(2)]
        w_s = w_s - 0.5 * (g[0].server[0] + g[1].server[0]) / 2
        w_c = [w_c[i] - 0.5 * g[i].client[0] for i in range(2)]
    close(trainer.server.segment.weight, w_s)
    close(trainer.engine.collect((0, 1))["weight"], np.stack(w_c))


@pytest.mark.parametrize("others", [1, 2, 5])
def test_a_client_learns_as_much_however_many_others_there_are(problem, close, others) -> None:
    """Under SGD the paper's code lets a client's gradient shrink by 1/|C|; here it is of its own mean loss."""
    p = problem((2,) * (1 + others))
    trainer = p.build(PSL(), rate=0.5).run()
    alone = p.w_c[0] - 0.5 * p.gradients(0).client.mean(0)
    close(trainer.engine.collect((0,))["weight"][0], alone)
