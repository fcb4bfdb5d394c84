"""Activation maps at the cut: what a client sends of one image, as pictures (paper, Figure 4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MAPS = 8
"""Channels shown, those that vary most over the image."""


def activation_maps(send: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Return the liveliest channels ``[m, height, width]`` of what a client sends of an image ``[1, ...]``.

    Smashed data that are no maps come as one row of pixels, ``[1, 1, n]``.
    """
    with torch.no_grad():
        smashed = send(image)[0]
    if smashed.dim() != 3:
        return smashed.reshape(1, 1, -1)
    liveliest = smashed.flatten(1).std(1).topk(min(MAPS, len(smashed))).indices
    return smashed[liveliest.sort().values]
