"""Decoders: a small network behind a client's own smashed data that finds the inputs again (LocFedMix-SL)."""

from __future__ import annotations

from math import prod

import torch
from torch import nn

WIDTH = 64
"""Values between the two layers of a decoder; channels, for images."""


def build_decoder(cut: tuple[int, ...], inputs: tuple[int, ...], seed: int) -> nn.Module:
    """Return a decoder with its first weights.

    Images are decoded by two convolutions, with the picture's size between them; all else by two linear layers.

    Parameters
    ----------
    cut, inputs
        Shapes of one sample's smashed data and of its inputs.
    seed
        Of its first weights.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        if len(cut) == len(inputs) == 3:
            return nn.Sequential(
                nn.Conv2d(cut[0], WIDTH, 3, padding=1),
                nn.ReLU(),
                nn.Upsample(inputs[1:]),
                nn.Conv2d(WIDTH, inputs[0], 3, padding=1),
            )
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(prod(cut), WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, prod(inputs)),
            nn.Unflatten(1, inputs),
        )
