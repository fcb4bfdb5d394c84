"""SplitFed, eq. 9-10, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sglr.core.errors import UsageError
from sglr.methods.sfl import SFL


@pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 3, 1)], ids=["equal", "unequal"])
def test_psl_then_the_weighted_mean_of_client_segments(problem, close, sizes) -> None:
    p = problem(sizes)
    trainer = p.build(SFL(), rate=0.5, epochs=2).run()
    w_c, w_s = p.w_c[0], p.w_s  # everyone starts from client 0's weights
    for _ in range(2):
        g = [p.gradients(i, w_c, w_s) for i in range(3)]
        w_s = w_s - 0.5 * sum(share * g[i].server.mean(0) for i, share in enumerate(p.shares))
        w_c = sum(share * (w_c - 0.5 * g[i].client.mean(0)) for i, share in enumerate(p.shares))
    close(trainer.shared["weight"], w_c)
    close(trainer.server.segment.weight, w_s)
    close(trainer.engine.collect((0, 1, 2))["weight"], np.stack([w_c] * 3))


@pytest.mark.parametrize(("every", "means"), [(0, {3}), (1, {0, 1, 2, 3}), (2, {1, 3}), (3, {2, 3}), (9, {3})])
def test_averages_after_so_many_steps_and_at_the_end_of_the_epoch(problem, close, every: int, means: set[int]) -> None:
    p = problem((4, 4), same=True)  # four steps of one sample each
    trainer = p.build(SFL(average_every=every), rate=0.5, batch=1).run()
    own, w_s = [p.w_c[0]] * 2, p.w_s
    for step in range(4):
        g = [p.gradients(i, own[i], w_s) for i in range(2)]
        w_s = w_s - 0.5 * (g[0].server[0] + g[1].server[0]) / 2
        own = [own[i] - 0.5 * g[i].client[0] for i in range(2)]
        if step in means:
            own = [(own[0] + own[1]) / 2] * 2
    close(trainer.engine.collect((0, 1))["weight"], np.stack(own))
    close(trainer.server.segment.weight, w_s)


def test_refuses_a_negative_number_of_steps() -> None:
    with pytest.raises(UsageError, match=r"average_every = -1: is negative; give steps, or 0 for once an epoch"):
        SFL(average_every=-1)
