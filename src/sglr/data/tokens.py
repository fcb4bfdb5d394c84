"""Targets of texts that were made from their tokens, int64 ``[N, L]`` like any other: those that were masked."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sglr.core.errors import UsageError

NOT_ASKED = -100
"""The target of a position that the network is not asked about, as in torch and in Hugging Face's collators."""
MASKED, REPLACED = 0.8, 0.9
"""Of the chosen tokens, the share that is masked; and that share with those replaced by others."""


class MaskedTokens(NamedTuple):
    """Texts with hidden tokens.

    Parameters
    ----------
    inputs
        Tokens ``[N, L]``, of which some are replaced.
    targets
        The true tokens where they were chosen, -100 elsewhere, ``[N, L]``.
    """

    inputs: Tensor
    targets: Tensor


def masked_tokens(
    tokens: Tensor, mask: int, vocabulary: int, rng: np.random.Generator, share: float = 0.15, pad: int | None = None
) -> MaskedTokens:
    """Return texts of which some tokens are hidden, as BERT is trained (Devlin et al., 1810.04805).

    Of each text's own tokens a share is chosen, one at least; of these 80 % become the mask, 10 % another token drawn
    from the vocabulary, and 10 % stay, so that the network can't tell which tokens it is asked about.

    Parameters
    ----------
    tokens
        Int64 ``[N, L]``.
    mask
        The token that hides others.
    vocabulary
        K, the number of tokens.
    rng
        Draws what is hidden: the same state gives the same texts.
    share
        Share of a text's tokens that is chosen.
    pad
        The token that fills up short texts, which is never chosen.

    Raises
    ------
    UsageError
        If the mask is no token, or the share not between 0 and 1.
    """
    if not 0 <= mask < vocabulary:
        problem = f"the vocabulary has the tokens 0 to {vocabulary - 1}"
        raise UsageError("mask", mask, problem, "give the number of the token that hides others")
    if not 0 < share <= 1:
        raise UsageError(
            "share", share, "is no share of the tokens", "give a number above 0 and at most 1, such as 0.15"
        )
    chosen = _chosen(tokens, rng, share, pad)
    fate = torch.from_numpy(rng.random(tokens.shape))
    others = torch.from_numpy(rng.integers(0, vocabulary, tokens.shape))
    inputs = tokens.where(~(chosen & (fate < MASKED)), mask)
    inputs = inputs.where(~(chosen & (fate >= MASKED) & (fate < REPLACED)), others)
    return MaskedTokens(inputs, tokens.where(chosen, NOT_ASKED))


def _chosen(tokens: Tensor, rng: np.random.Generator, share: float, pad: int | None) -> Tensor:
    """Return which tokens are chosen, ``[N, L]``: of each text those with the least numbers drawn."""
    own = torch.ones_like(tokens, dtype=torch.bool) if pad is None else tokens != pad
    drawn = torch.from_numpy(rng.random(tokens.shape)).masked_fill(~own, 2.0)
    wanted = (own.sum(1, keepdim=True) * share).round().clamp(min=1)
    return (drawn.argsort(1).argsort(1) < wanted) & own
