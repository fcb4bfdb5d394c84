"""A critic f(x, y) that tells pairs which belong together from pairs which don't, and its training.

The best critic is log p(y|x)/p(y), up to terms that an objective ignores. This one starts from the closed form that it
has for Gaussians, by canonical correlations, and learns the rest with small networks: few samples suffice then where
inputs and smashed data depend linearly on one another, as they do behind few layers.

It is separable, f(x, y) = left(x) · right(y) + terms of x and of y alone: all n² pairs of n samples cost n passes of
either network and one matrix product. A network of the concatenated (x, y) would need n² passes, and few pairs make
both the gradient and the estimate of the partition function noisy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from sglr.core.random import key

WIDTH = 64
BATCH = 256
STEPS = 400
CHECK_EVERY = 20
PATIENCE = 4
"""Checks without a better result, after which training ends."""
RATE = 1e-3
HIGHEST = 0.999
"""Canonical correlations are cut off here: at 1 the density ratio has no end."""

Objective = Callable[[Tensor], Tensor]
"""Scores ``[n, n]``, in whose row i and column j sample i's x meets sample j's y, to the bound in nats."""


class Critic(nn.Module):
    """Score all pairs of x ``[n, p]`` and y ``[m, q]``, which have unit variance.

    Parameters
    ----------
    x, y
        Samples that belong together, to take canonical correlations from.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__()
        to_left, to_right, correlations = _canonical(x, y)
        squared = correlations.square()
        self.register_buffer("to_left", to_left)
        self.register_buffer("to_right", to_right)
        self.to_left: Tensor
        self.to_right: Tensor
        self.cross = nn.Parameter(correlations / (1 - squared))
        self.left_alone = nn.Parameter(squared / (1 - squared) / 2)
        self.right_alone = nn.Parameter(squared / (1 - squared) / 2)
        self.constant = nn.Parameter(-torch.log1p(-squared).sum() / 2)
        # The last column is the term of x or y alone.
        self.left, self.right = _network(x.shape[1]), _network(y.shape[1])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return scores ``[n, m]``."""
        u, v = torch.mm(x, self.to_left), torch.mm(y, self.to_right)
        left, right = self.left(x), self.right(y)
        pairs = (u * self.cross) @ v.T + left[:, :-1] @ right[:, :-1].T / WIDTH**0.5
        x_alone = left[:, -1] - u.square() @ self.left_alone
        y_alone = right[:, -1] - v.square() @ self.right_alone
        scores: Tensor = pairs + x_alone[:, None] + y_alone + self.constant
        return scores


def fit_critic(x: Tensor, y: Tensor, objective: Objective, bound: Objective, seed: int, steps: int = STEPS) -> Critic:
    """Train a critic on pairs, and keep the one that is best on an eighth of them.

    Parameters
    ----------
    x, y
        ``[n, p]`` and ``[n, q]`` of unit variance.
    objective
        What training raises; its gradient is what counts.
    bound
        What the held-out eighth is judged by.
    seed
        Seed of the first weights and of the order of samples.
    steps
        Steps of training at most; 0 leaves it at the closed form for Gaussians.
    """
    held_out = len(x) // 8
    rows = torch.arange(len(x))
    fitted, judged = rows[held_out:], rows[:held_out]
    # Only the generator that layers draw from: a GPU's own stays as it is.
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(key(seed, "critic"))
        critic = Critic(x[fitted], y[fitted]).to(x.dtype)
    if not steps:
        return critic
    optimizer = torch.optim.Adam(critic.parameters(), RATE)
    batches = _batches(fitted, seed)
    best, kept, waited = _judged(critic, x[judged], y[judged], bound), copy.deepcopy(critic.state_dict()), 0
    for step in range(1, steps + 1):
        batch = next(batches)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(-objective(critic(x[batch], y[batch])))
        optimizer.step()
        if step % CHECK_EVERY == 0:
            reached = _judged(critic, x[judged], y[judged], bound)
            waited = 0 if reached > best else waited + 1
            if reached > best:
                best, kept = reached, copy.deepcopy(critic.state_dict())
            if waited == PATIENCE:
                break
    critic.load_state_dict(kept)
    return critic


def _judged(critic: Critic, x: Tensor, y: Tensor, bound: Objective) -> float:
    with torch.no_grad():
        return float(bound(critic(x, y)))


def _batches(rows: Tensor, seed: int) -> Iterator[Tensor]:
    """Yield full batches without end, in a new order each time round."""
    generator = torch.Generator().manual_seed(key(seed, "critic's batches"))
    size = min(BATCH, len(rows))
    while True:
        order = rows[torch.randperm(len(rows), generator=generator)]
        yield from torch.split(order[: len(order) // size * size], size)


def _network(inputs: int) -> nn.Sequential:
    """Build a network whose output is nearly zero at first, so that the closed form comes first."""
    network = nn.Sequential(nn.Linear(inputs, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU())
    last = nn.Linear(WIDTH, WIDTH + 1)
    with torch.no_grad():
        last.weight.mul_(0.3)
        last.bias.zero_()
    return network.append(last)


def _canonical(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return maps of x and y to canonical variables, and these variables' correlations.

    Independent Gaussians of n samples have correlations of up to √(p/n) + √(q/n). What is below counts as zero, and
    what is above is lowered accordingly.
    """
    x_root, y_root = _inverse_root(x), _inverse_root(y)
    left, correlations, right = torch.linalg.svd(x_root @ (x.T @ y / len(x)) @ y_root, full_matrices=False)
    chance = ((x.shape[1] / len(x)) ** 0.5 + (y.shape[1] / len(y)) ** 0.5) ** 2
    squared = ((correlations.square() - chance) / max(1 - chance, 1e-3)).clamp(0, HIGHEST**2)
    return x_root @ left, y_root @ right.T, squared.sqrt()


def _inverse_root(rows: Tensor) -> Tensor:
    """Return the inverse square root of the second moments of rows ``[n, p]``, with a little shrinkage."""
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    root: Tensor = vectors / values.clamp(min=1e-3).sqrt() @ vectors.T
    return root
