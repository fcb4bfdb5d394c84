"""SmashMix: smashed data of two clients, mixed sample by sample, with the losses of both labels (LocFedMix-SL, WWW-22).

A mixed sample is s~ = λ s_i + (1 − λ) s_j, and its loss λ ℓ(s~, y_i) + (1 − λ) ℓ(s~, y_j).
"""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.core.server_protocol import Server
from sglr.core.types import Priors, ServerBatch, StepContext, Uplink
from sglr.core.weights import to_device


class Pairs(NamedTuple):
    """Which samples of a step are mixed with which, M of them, by their place among the step's N samples.

    Parameters
    ----------
    first, second
        The places of the two samples, ``[M]``; no place is twice in one of them.
    share
        λ, the first one's part in the mixed sample, ``[M]``.
    sizes
        How many samples the pair of clients mixes, ``[M]``.
    """

    first: Tensor
    second: Tensor
    share: Tensor
    sizes: Tensor


def check_beta(beta: float) -> None:
    """Refuse an a of Beta(a, a) that makes no sense."""
    if not (isfinite(beta) and beta > 0):
        raise UsageError("beta", beta, "is not above zero", "give a positive number, such as 1")


def learn_mixed(server: Server, uplink: Uplink, context: StepContext, beta: float) -> Tensor:
    """Let the server step on own and mixed samples; return what clients are told of both, ``[C, b, ...]``.

    With one client there is nothing to mix.
    """
    if len(uplink.clients) == 1:
        return server.learn(uplink, context, context.server_rate)
    # Apart from the step's other draws.
    pairs = draw_pairs(uplink, beta, context.rng.spawn(1)[0])
    batch, told_prior = with_mixed(uplink, pairs, server.priors(uplink))
    found = server.learn_batch(batch, context, context.server_rate, told_prior)
    return server.defended(grad_mix(found, uplink, pairs), uplink, context)


def draw_pairs(uplink: Uplink, beta: float, rng: np.random.Generator) -> Pairs:
    """Put clients in a random circle; each is mixed with the next, sample j with sample j, where both have one.

    Parameters
    ----------
    uplink
        What at least two clients sent.
    beta
        a: each pair draws one λ from Beta(a, a).
    rng
        The step's random numbers.
    """
    sizes, count = np.array(uplink.sizes), len(uplink.sizes)
    starts = np.cumsum(sizes) - sizes
    one = rng.permutation(count)
    other, shares = np.roll(one, -1), rng.beta(beta, beta, size=count)
    both = np.minimum(sizes[one], sizes[other])
    place = np.concatenate([np.arange(each) for each in both])
    first, second = (np.repeat(starts[which], both) + place for which in (one, other))
    device, kind = uplink.smashed.device, uplink.smashed.dtype
    parts, counts = (to_device(np.repeat(each, both).tolist(), device).to(kind) for each in (shares, both))
    return Pairs(to_device(first.tolist(), device), to_device(second.tolist(), device), parts, counts)


def with_mixed(uplink: Uplink, pairs: Pairs, priors: Priors | None) -> tuple[ServerBatch, Tensor | None]:
    """Return a step's N samples and behind them the M mixed ones; and the prior of what is told, if it is another.

    The prior of a mixed sample is that of a label which is the first one's with probability λ, else the second one's.
    """
    smashed, targets = uplink.flatten(uplink.smashed), uplink.flatten(uplink.labels)
    part = _like(pairs.share, smashed)
    mixed = part * smashed[pairs.first] + (1 - part) * smashed[pairs.second]
    batch = ServerBatch(
        torch.cat([smashed, mixed]),
        torch.cat([targets, targets[pairs.first]]),
        log_prior=None if priors is None or priors.step is None else _mixed_prior(priors.step, pairs),
        others=torch.cat([targets, targets[pairs.second]]),
        share=torch.cat([pairs.share.new_ones(len(targets)), pairs.share]),
    )
    return batch, None if priors is None or priors.told is priors.step else _mixed_prior(priors.told, pairs)


def _mixed_prior(prior: Tensor, pairs: Pairs) -> Tensor:
    share = pairs.share[:, None]
    return torch.cat([prior, torch.log(share * prior[pairs.first].exp() + (1 - share) * prior[pairs.second].exp())])


def grad_mix(gradients: Tensor, uplink: Uplink, pairs: Pairs) -> Tensor:
    """Return each client's cut gradient of its own mean loss and of its parts in the losses of its pairs.

    Parameters
    ----------
    gradients
        Of the mean loss over the N samples and the M mixed ones, by these, ``[N + M, ...]``.
    uplink, pairs
        The step, and what was mixed.

    Returns
    -------
    Tensor
        Cut-layer gradients ``[C, b, ...]``. A pair's loss is the mean over its own samples.
    """
    total, samples = len(gradients), sum(uplink.sizes)
    owns = to_device(np.repeat(uplink.sizes, uplink.sizes).tolist(), gradients.device)
    found = gradients[:samples] * _like(total / owns, gradients)
    for rows, share in ((pairs.first, pairs.share), (pairs.second, 1 - pairs.share)):
        found.index_add_(0, rows, gradients[samples:] * _like(total * share / pairs.sizes, gradients))
    return uplink.unflatten(found)


def _like(values: Tensor, target: Tensor) -> Tensor:
    return values.to(target.dtype).reshape(-1, *(1,) * (target.dim() - 1))
