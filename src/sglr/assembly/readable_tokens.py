"""Warn where a server that knows the network can read texts from what crosses the cut, token by token."""

from __future__ import annotations

import copy

import torch
from torch import nn

from sglr.core.data import Inputs
from sglr.splitting import parts_of

OWN_SHARE = 1.5
"""A token's own share of what crosses, in parts of a text's length, up to which no other position tells of it."""


def readable_tokens(client: nn.Module, inputs: Inputs) -> str:
    """Return a warning if each position of what crosses is made of its own token alone, by a frozen embedding.

    Parameters
    ----------
    client
        All layers of a client.
    inputs
        Samples ``[n, ...]``, of which the first is tried.

    Returns
    -------
    str
        The warning; empty where inputs are no tokens, the embedding is trained, or layers behind it mix positions.
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
        return ""
    return (
        "what crosses this cut is made of each token alone by an embedding that is frozen: whoever has the network, as "
        "a server does, reads all texts from it; cut behind more blocks, and see what noise costs (docs/privacy.md)"
    )
