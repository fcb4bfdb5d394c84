"""Attention masks in the form that blocks of transformers add to their scores, made without looking at values.

The package transformers decides by a mask's values whether it is needed, which stacked clients can't do; given a mask
of four dimensions, it takes it as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sglr.splitting.transformers.families import Family

FULL, SLIDING = "full_attention", "sliding_attention"
"""What configurations call the types of blocks."""


def masks_for(
    family: Family, tokens: Tensor | None, length: int, like: Tensor, window: int | None, types: tuple[str, ...]
) -> Tensor | dict[str, Tensor] | None:
    """Return what a base model takes as ``attention_mask``.

    Parameters
    ----------
    family
        The family of the model.
    tokens
        Which positions hold a token ``[b, L]``, not padding; None if all do.
    length
        L.
    like
        A tensor of the type and on the device of hidden states.
    window
        How many positions a block with sliding attention sees; None if there is none.
    types
        The types of the blocks, where the model takes a mask for each.

    Returns
    -------
    Tensor, dict or None
        0 where a position is seen and the least number where it is not, ``[b or 1, 1, L, L]``; by type of block where
        the family has several; None if every position sees all.
    """
    if family.masks == "by_type":
        return {each: _added(_seen(length, like, window if each == SLIDING else None), tokens, like) for each in types}
    if not family.causal:
        return None if tokens is None else _added(tokens.new_ones((), dtype=torch.bool), tokens, like)
    return _added(_seen(length, like, window), tokens, like)


def causal_mask(length: int, like: Tensor) -> Tensor:
    """Return a mask ``[1, 1, L, L]`` by which each position sees itself and those before it."""
    return added_mask(_seen(length, like, None)[None, None], like)


def added_mask(seen: Tensor, like: Tensor) -> Tensor:
    """Return what is added to scores: 0 where something is seen and the least number where it is not."""
    return torch.where(seen, torch.zeros((), dtype=like.dtype, device=like.device), torch.finfo(like.dtype).min)


def _seen(length: int, like: Tensor, window: int | None) -> Tensor:
    """Return which positions ``[L, L]`` each one sees: itself and those before it, as far as its window goes."""
    place = torch.arange(length, device=like.device)
    seen = place <= place[:, None]
    return seen if window is None else seen & (place > place[:, None] - window)


def _added(seen: Tensor, tokens: Tensor | None, like: Tensor) -> Tensor:
    if tokens is not None:
        length = tokens.shape[1]
        seen = (seen & tokens[:, None, None, :]).expand(tokens.shape[0], 1, length, length)
    else:
        seen = seen[None, None]
    return added_mask(seen, like)
