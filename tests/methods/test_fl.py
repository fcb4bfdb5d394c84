"""Federated averaging, eq. 7-8, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sglr.core.errors import UsageError
from sglr.core.events import Traffic
from sglr.methods.fl import FL


def local_training(p, i: int, w_c, w_s, steps: int):
    """Eq. 7: full-batch gradient steps of client i on the whole model, at a rate of 0.5."""
    for _ in range(steps):
        g = p.gradients(i, w_c, w_s)
        w_c, w_s = w_c - 0.5 * g.client.mean(0), w_s - 0.5 * g.server.mean(0)
    return w_c, w_s


@pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 3, 1)], ids=["equal", "unequal"])
def test_rounds_average_what_clients_learned_from_the_common_weights(problem, close, sizes) -> None:
    p = problem(sizes)
    trainer = p.build(FL(), rate=0.5, epochs=2).run()
    w_c, w_s = p.w_c[0], p.w_s  # everyone starts from client 0's weights
    for _ in range(2):
        own = [local_training(p, i, w_c, w_s, 1) for i in range(3)]
        w_c = sum(share * own[i][0] for i, share in enumerate(p.shares))
        w_s = sum(share * own[i][1] for i, share in enumerate(p.shares))
    close(trainer.shared["0.weight"], w_c)
    close(trainer.shared["1.weight"], w_s)


def test_local_epochs_lie_between_averages_and_the_last_average_is_never_missed(problem, close, events) -> None:
    p = problem((2, 3))
    training = p.build(FL(local_epochs=2), rate=0.5, epochs=3)
    training.hooks.observe = events.append
    trainer = training.run()
    w_c, w_s = p.w_c[0], p.w_s
    for steps in (2, 1):  # epochs 1 and 2, then the training ends after epoch 3
        own = [local_training(p, i, w_c, w_s, steps) for i in range(2)]
        w_c = 2 / 5 * own[0][0] + 3 / 5 * own[1][0]
        w_s = 2 / 5 * own[0][1] + 3 / 5 * own[1][1]
    close(trainer.shared["0.weight"], w_c)
    close(trainer.shared["1.weight"], w_s)
    sent = [event.up for event in events if isinstance(event, Traffic)]
    assert sent == [False, True, False, True]


def test_all_clients_end_with_the_shared_weights(problem) -> None:
    p = problem((2, 3))
    trainer = p.build(FL(), rate=0.5, epochs=2).run()
    for name, rows in trainer.engine.collect((0, 1)).items():
        assert np.array_equal(rows[0], rows[1])
        assert np.array_equal(rows[0], trainer.shared[name])


def test_absent_clients_have_no_weight_in_the_average(problem, close) -> None:
    p = problem((2, 3, 1, 4))
    training = p.build(FL(), rate=0.5, participation=0.5)
    trainer = training.run()
    first, second = trainer.participants(0)
    own = {i: local_training(p, i, p.w_c[0], p.w_s, 1) for i in (first, second)}
    n, m = p.sizes[first], p.sizes[second]
    close(trainer.shared["0.weight"], (n * own[first][0] + m * own[second][0]) / (n + m))
    close(trainer.shared["1.weight"], (n * own[first][1] + m * own[second][1]) / (n + m))


@pytest.mark.parametrize("local_epochs", [0, -1])
def test_refuses_local_epochs_that_are_not_positive(local_epochs: int) -> None:
    with pytest.raises(UsageError, match=rf"local_epochs = {local_epochs}: is not positive; give 1 or more"):
        FL(local_epochs=local_epochs)
