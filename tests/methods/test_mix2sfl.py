"""Mix2SFL: one step by hand, of batches that are equal and that are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sglr.core.errors import UsageError
from sglr.core.mixing.smash_mix import draw_pairs
from sglr.methods.mix2sfl import Mix2SFL
from sglr.methods.psl import PSL

RATE = 0.5


def by_logits(s: Any, w_s: Any, y: int, prior: Any = 0.0) -> Any:
    z = w_s @ s + prior
    p = np.exp(z) / np.exp(z).sum()
    p[y] -= 1
    return p


def by_hand(p: Any, seed: int, beta: float, priors: Any = None) -> tuple[Any, Any]:
    """Work out the server's new weights and each client's gradient; ``priors`` are those of clients, [C, K]."""
    rng = np.random.default_rng(seed).spawn(1)[0]
    circle = rng.permutation(len(p.sizes))
    shares = rng.beta(beta, beta, size=len(p.sizes))
    priors = np.zeros((len(p.sizes), 3)) if priors is None else priors
    s = [p.x[i] @ p.w_c[i].T for i in range(len(p.sizes))]
    cut = [np.zeros((max(p.sizes), 2)) for _ in p.sizes]
    rows = []
    for i, size in enumerate(p.sizes):
        for j in range(size):
            r = by_logits(s[i][j], p.w_s, p.y[i][j], priors[i])
            rows.append(np.outer(r, s[i][j]))
            cut[i][j] += p.w_s.T @ r / size
    for place, i in enumerate(circle):
        k, share = circle[(place + 1) % len(circle)], shares[place]
        both = min(p.sizes[i], p.sizes[k])
        prior = np.log(share * np.exp(priors[i]) + (1 - share) * np.exp(priors[k]))
        for j in range(both):
            mixed = share * s[i][j] + (1 - share) * s[k][j]
            r = share * by_logits(mixed, p.w_s, p.y[i][j], prior)
            r = r + (1 - share) * by_logits(mixed, p.w_s, p.y[k][j], prior)
            rows.append(np.outer(r, mixed))
            cut[i][j] += share * p.w_s.T @ r / both
            cut[k][j] += (1 - share) * p.w_s.T @ r / both
    return p.w_s - RATE * np.mean(rows, 0), np.stack(cut)


@pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 3, 1), (3, 1)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_a_step_is_on_own_and_mixed_samples_and_clients_get_their_parts(problem, context, close, sizes, seed) -> None:
    p = problem(sizes)
    server = p.server()
    found = Mix2SFL(beta=0.4, phi=0.0).exchange(server, p.uplink(), context(seed, rate=RATE))
    w_s, cut = by_hand(p, seed, 0.4)
    close(found.gradients, cut)
    close(server.segment.weight, w_s)
    assert found.averaged is None


def test_the_sums_are_averaged_by_position_over_active_clients(problem, context, close) -> None:
    p = problem((2, 3, 1))
    found = Mix2SFL(phi=1.0).exchange(p.server(), p.uplink(), context(rate=RATE))
    cut = by_hand(p, 0, 1.0)[1]
    first, second = cut[:, 0].mean(0), cut[:2, 1].mean(0)
    close(found.gradients[1], np.stack([first, second, cut[1, 2]]))
    close(found.gradients[2, 0], first)
    assert found.averaged.rows == (0, 1, 2)


@pytest.mark.parametrize("label_prior", ["own", "pooled"])
def test_the_prior_of_a_mixed_sample_is_mixed_too(problem, context, close, label_prior: str) -> None:
    p = problem((2, 3, 1))
    counts = np.stack([np.bincount(y, minlength=3) + 1 for y in p.y])
    own = np.log(counts / counts.sum(1, keepdims=True))
    pooled = np.bincount(np.concatenate(p.y), minlength=3) + 1
    server = p.server(label_prior)
    found = Mix2SFL(phi=0.0).exchange(server, p.uplink(), context(rate=RATE))
    close(found.gradients, by_hand(p, 0, 1.0, own)[1])
    of_step = own if label_prior == "own" else np.stack([np.log(pooled / pooled.sum())] * 3)
    close(server.segment.weight, by_hand(p, 0, 1.0, of_step)[0])


def test_segments_are_averaged_after_the_epoch(problem, close) -> None:
    p = problem((1, 1, 1))
    p.w_c = [p.w_c[0]] * 3
    trainer = p.build(Mix2SFL(phi=1.0), rate=RATE).run()
    close(trainer.engine.collect((0, 2))["weight"][0], trainer.shared["weight"].numpy())
    assert not np.allclose(trainer.shared["weight"].numpy(), p.w_c[0])


def test_one_client_has_nobody_to_mix_with(problem, context) -> None:
    p = problem((3,))
    one, other = p.server(), p.server()
    mixed = Mix2SFL().exchange(one, p.uplink(), context(rate=RATE)).gradients
    plain = PSL().exchange(other, p.uplink(), context(rate=RATE)).gradients
    assert np.array_equal(mixed, plain)
    assert np.array_equal(one.segment.weight.detach(), other.segment.weight.detach())


def test_every_client_is_once_the_first_and_once_the_second_and_never_its_own_partner(problem) -> None:
    p = problem((2, 3, 1, 4))
    owner = np.repeat(range(4), p.sizes)
    seen = set()
    for seed in range(20):
        pairs = draw_pairs(p.uplink(), 1.0, np.random.default_rng(seed))
        first, second = owner[pairs.first.numpy()], owner[pairs.second.numpy()]
        partners = dict(zip(first.tolist(), second.tolist(), strict=True))
        assert set(partners) == set(partners.values()) == {0, 1, 2, 3}
        assert all(one != other for one, other in partners.items())
        assert len(set(pairs.first.tolist())) == len(pairs.first)
        seen.add(tuple(sorted(partners.items())))
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, "beta = 0.0: is not above zero; give a positive number"),
        ({"beta": float("nan")}, "beta = nan"),
        ({"beta": float("inf")}, "beta = inf"),
        ({"phi": 1.5}, "phi = 1.5: is outside"),
    ],
)
def test_refuses_parameters_that_make_no_sense(options, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        Mix2SFL(**options)
