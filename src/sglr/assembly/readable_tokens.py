"""Warn where a server that has the frozen network can read texts from what crosses the cut, token by token."""

from __future__ import annotations

import copy

import torch
from torch import nn

from sglr.core.data import Inputs
from sglr.splitting import parts_of

OWN_SHARE = 1.5
"""A token's own share of what crosses, in parts of a text's length, up to which no other position tells of it."""


def readable_tokens(client: nn.Module, inputs: Inputs) -> str:
    """Return a warning if tokens are embedded by frozen weights, which a server mostly has; it says how much is read.

    Parameters
    ----------
    client
        All layers of a client.
    inputs
        Samples ``[n, ...]``, of which the first is tried.

    Returns
    -------
    str
        The warning; empty where inputs are no tokens, or the embedding is trained.
    """
    lower = parts_of(client)[0]
    frozen = [layer for layer in lower.modules() if isinstance(layer, nn.Embedding) and not layer.weight.requires_grad]
    if not frozen or not len(inputs) or inputs.dtype.is_floating_point or len(inputs.shape) != 2 or inputs.shape[1] < 4:
        return ""
    # The first position, because in a causal model each later one is told of it.
    text = inputs[torch.arange(1)].cpu()
    other = text.clone()
    vocabulary = max(layer.num_embeddings for layer in frozen)
    other[0, 0] = text[0, 1] if text[0, 1] != text[0, 0] else (text[0, 0] + 1) % vocabulary
    lower = copy.deepcopy(lower).cpu().eval()
    with torch.no_grad():
        changed = (lower(text) != lower(other)).float().mean()
    if float(changed) > OWN_SHARE / inputs.shape[1]:
        return (
            "the embedding of tokens is frozen: from behind 4 of 6 blocks of such a network a server that had it read "
            "99 % of the tokens (docs/privacy.md); cut behind more blocks, and see what noise costs"
        )
    return (
        "what crosses this cut is made of each token alone by an embedding that is frozen: a server that has the "
        "network reads all texts from it, with noise too (docs/privacy.md); cut behind more blocks"
    )
