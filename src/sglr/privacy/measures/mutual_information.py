"""Mutual information between inputs and smashed data, bounded from below by a critic: InfoNCE and MINE.

Both look at a few principal components of inputs and smashed data, in normal scores; they train a critic on one half of
the samples and evaluate it on the other. So the expected value is at most the true I(X; Y), whatever it learned.
They cannot tell large values apart: no estimate from n samples can show more than about log n nats
(McAllester and Stratos, 2020). A segment without noise is such a case: its smashed data nearly determine the input,
I(X; Y) is as large as the entropy of X, and the estimate ends near its ceiling with ``high`` None.

The interval: ``low`` is the evaluated bound less 1.96 standard errors, and at most log n of the evaluated samples; it
holds for I(X; Y) too. ``high`` is the same critic's value on the samples it was fitted to, plus 1.96 standard errors. A
critic overestimates there as much as it underestimates elsewhere, so that what the best critic of this kind would reach
lies between. Dependence that is outside the components, or that no critic of this kind sees, is above ``high``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.core.random import key
from sglr.privacy.measures.critic import STEPS, Critic, fit_critic
from sglr.privacy.measures.estimate import NORMAL, Estimate
from sglr.privacy.measures.projection import fit_projection, normal_scores
from sglr.privacy.measures.samples import paired_rows

SAMPLES = 4096
"""How many samples the stated precision needs: 10 % for Gaussians of up to 20 dimensions and 3 nats."""
LEAST = 256
DIMENSIONS = 32
MARGIN = 3.0
"""Nats below the ceiling from which on ``high`` is None: the bias of both bounds is felt there."""

LOWEST_ANCHOR = -1.0
"""A density ratio's partition function is 1, and its logarithm 0. Far below, the pairs that dominate it were not
among the fitted samples; one that occurs later would dominate the estimate."""


@dataclass(frozen=True)
class Halves:
    """Projected samples: those that the critic was fitted to, and those that it is evaluated on."""

    fitted: tuple[Tensor, Tensor]
    evaluated: tuple[Tensor, Tensor]


def info_nce(
    inputs: Tensor, smashed: Tensor, *, seed: int, dimensions: int = DIMENSIONS, steps: int = STEPS
) -> Estimate:
    """Bound I(X; Y) from below by InfoNCE (van den Oord et al., 2018), in nats.

    mean_i [f(x_i, y_i) − log (1/K) Σ_j exp f(x_i, y_j)] over the K samples of the evaluated half as one batch. It never
    exceeds log K, and falls short of I(X; Y) from some log K − 3 on; there, ``high`` is None.

    Parameters
    ----------
    inputs, smashed
        ``[n, ...]`` each; row k of one belongs to row k of the other. They are computed with on the CPU.
    seed
        Seed of the halves, the projection and the critic.
    dimensions
        How many principal components of either are looked at.
    steps
        Steps of the critic's training at most; with 0 it is the closed form for Gaussians, a valid bound, too.

    Raises
    ------
    UsageError
        If there are fewer than 256 samples, numbers differ, or values are constant or not finite.
    """
    halves = _halves(inputs, smashed, seed, dimensions)
    critic = fit_critic(*halves.fitted, _info_nce, _info_nce, seed, steps)
    return _bounds(critic, halves, _info_nce_parts, f"InfoNCE, {_stated(dimensions)}")


def mine(inputs: Tensor, smashed: Tensor, *, seed: int, dimensions: int = DIMENSIONS) -> Estimate:
    """Bound I(X; Y) from below as MINE does (Belghazi et al., 2018), in nats.

    The critic raises the Donsker-Varadhan bound E_joint[f] − log E_product[exp f], with the gradient that a moving
    average of the partition function corrects. Of finite samples that expression errs upwards (Jensen); so it is
    evaluated with its tangent log z ≤ z/a + log a − 1 at the partition a of the fitted half, whose expectation is at
    most I(X; Y). Its variance grows like exp I(X; Y), which has no end where smashed data determine the input. So, for
    K evaluated samples, scores are cut off at log K, in training too, and so is the figure itself; that lowers it only.
    From 3 nats below log K on, ``high`` is None.

    Parameters and errors are those of :func:`info_nce`.
    """
    halves = _halves(inputs, smashed, seed, dimensions)
    highest, moving = math.log(len(halves.evaluated[0])), MovingPartition()
    critic = fit_critic(
        *halves.fitted,
        lambda scores: moving(scores.clamp(max=highest)),
        lambda scores: _donsker_varadhan(scores.clamp(max=highest)),
        seed,
    )
    with torch.no_grad():
        anchor = max(LOWEST_ANCHOR, float(_log_partition(critic(*halves.fitted).clamp(max=highest))))

    def parts(scores: Tensor) -> tuple[float, Tensor]:
        return _tangent_parts(scores.clamp(max=highest), anchor)

    return _bounds(critic, halves, parts, f"MINE, {_stated(dimensions)}")


class MovingPartition:
    """The Donsker-Varadhan bound, with Belghazi et al.'s gradient: E[∇f] − E[exp f ∇f] / average of E[exp f].

    A batch's own partition function in the denominator would bias the gradient, the more the smaller the batch.
    """

    keep = 0.9

    def __init__(self) -> None:
        self.log_average: Tensor | None = None

    def __call__(self, scores: Tensor) -> Tensor:
        """Return what has this gradient with respect to ``scores`` ``[n, n]``."""
        current = _log_partition(scores)
        now = current.detach()
        if self.log_average is None:
            self.log_average = now
        kept, new = self.log_average + math.log(self.keep), now + math.log(1 - self.keep)
        self.log_average = torch.logaddexp(kept, new)
        return scores.diagonal().mean() - (current - self.log_average).exp()


def _halves(inputs: Tensor, smashed: Tensor, seed: int, dimensions: int) -> Halves:
    if dimensions < 1:
        raise UsageError("dimensions", dimensions, "leaves no components", f"give 1 or more, such as {DIMENSIONS}")
    x, y = paired_rows(inputs, smashed, ("inputs", "smashed"), least=LEAST)
    x, y = x.cpu(), y.cpu()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(key(seed, "halves")))
    first, second = order[: len(x) // 2], order[len(x) // 2 :]
    pairs = [_components(each[first], each[second], dimensions, seed) for each in (x, y)]
    fitted, evaluated = zip(*pairs, strict=True)
    return Halves(fitted, evaluated)


def _components(fitted: Tensor, evaluated: Tensor, dimensions: int, seed: int) -> tuple[Tensor, Tensor]:
    projection = fit_projection(fitted, dimensions, seed)
    known, others = projection(fitted), projection(evaluated)
    return normal_scores(known, known).float(), normal_scores(known, others).float()


def _stated(dimensions: int) -> str:
    return f"lower bound by a critic on {dimensions} principal components, evaluated on samples that it has not seen"


def _bounds(critic: Critic, halves: Halves, parts: Callable[[Tensor], tuple[float, Tensor]], name: str) -> Estimate:
    """Evaluate a critic on either half."""
    with torch.no_grad():
        value, influence = parts(critic(*halves.evaluated).double())
        flattered, other = parts(critic(*halves.fitted).double())
    error, other_error = (NORMAL * float(each.std()) / math.sqrt(len(each)) for each in (influence, other))
    high = max(flattered + other_error, value + error, 0.0)
    ceiling = math.log(len(influence))
    samples = len(influence) + len(other)
    upper = None if high > ceiling - MARGIN else high
    return Estimate(min(value, ceiling), min(value - error, ceiling), upper, name, "nats", samples)


def _info_nce(scores: Tensor) -> Tensor:
    return (scores.diagonal() - scores.logsumexp(1)).mean() + math.log(len(scores))


def _info_nce_parts(scores: Tensor) -> tuple[float, Tensor]:
    """Return the bound, and each sample's influence on it: in its own row, and as a negative in the others'."""
    own = scores.diagonal() - scores.logsumexp(1) + math.log(len(scores))
    return float(own.mean()), own - scores.softmax(1).sum(0)


def _log_partition(scores: Tensor) -> Tensor:
    """Return log E_product[exp f], over the pairs that don't belong together."""
    count = len(scores)
    others = scores.masked_fill(torch.eye(count, dtype=torch.bool), -math.inf)
    return others.flatten().logsumexp(0) - math.log(count * (count - 1))


def _donsker_varadhan(scores: Tensor) -> Tensor:
    return scores.diagonal().mean() - _log_partition(scores)


def _tangent_parts(scores: Tensor, anchor: float) -> tuple[float, Tensor]:
    """Return the tangent's value, E_joint[f] − E_product[exp(f − anchor)] − anchor + 1, and samples' influences."""
    count, own = len(scores), scores.diagonal()
    ratios = (scores - anchor).exp().fill_diagonal_(0)
    value = own.mean() - ratios.sum() / (count * (count - 1)) - anchor + 1
    return float(value), own - (ratios.sum(0) + ratios.sum(1)) / (count - 1)
