"""SplitFed v1: a server copy per client makes it FedAvg of the whole model, computed in two places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sglr.methods.fl import FL
from sglr.methods.sflv1 import SFLV1


@pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 3, 1)], ids=["equal", "unequal"])
def test_both_sides_are_averaged_after_an_epoch(problem, close, sizes) -> None:
    p = problem(sizes)
    trainer = p.build(SFLV1(), rate=0.5, server_rate=0.25, epochs=2).run()
    w_c, w_s = p.w_c[0], p.w_s
    for _ in range(2):
        g = [p.gradients(i, w_c, w_s) for i in range(3)]
        w_c = sum(share * (w_c - 0.5 * g[i].client.mean(0)) for i, share in enumerate(p.shares))
        w_s = sum(share * (w_s - 0.25 * g[i].server.mean(0)) for i, share in enumerate(p.shares))
    close(trainer.shared["weight"], w_c)
    close(trainer.server.segment.weight, w_s)
    close(trainer.server.copies.weights((0, 1, 2))["weight"], np.stack([w_s] * 3))


def test_copies_go_their_own_ways_within_an_epoch(problem, close, context) -> None:
    p = problem((2, 2))
    server = p.build(SFLV1()).build().server
    server.learn_copies(p.uplink(), context(), 0.25)
    for i in range(2):
        copy = server.copies.weights((i,))["weight"][0]
        close(copy, p.w_s - 0.25 * p.gradients(i).server.mean(0))
    close(server.segment.weight, p.w_s)  # what is evaluated changes only when copies are averaged


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    batch=st.integers(1, 4),
    participation=st.sampled_from([1.0, 0.5]),
    stacking=st.sampled_from(["stacked", "looped"]),
    optimizer=st.sampled_from(["sgd", "sgd:momentum=0.9"]),
)
@settings(max_examples=15)
def test_equals_federated_averaging_of_the_whole_model(case, sizes, batch, participation, stacking, optimizer) -> None:
    """Every client trains both halves on its own batches, so it takes the steps of FL: here over whole epochs."""
    split, whole = (
        case(
            method,
            sizes=sizes,
            batch=batch,
            participation=participation,
            stacking=stacking,
            optimizer=optimizer,
            epochs=3,
        ).run()
        for method in (SFLV1(), FL())
    )
    for name, wanted in whole.shared.items():
        side, _, own = name.partition(".")
        found = split.shared[own] if side == "0" else split.server.segment.state_dict()[own]
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
