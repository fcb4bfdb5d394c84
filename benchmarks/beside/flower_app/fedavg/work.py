"""What both contenders train: the small CNN, as sglr has it, and clients' samples, read once by each process."""

from __future__ import annotations

import os
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

FOLDER = Path(os.environ["BESIDE_FOLDER"])
"""Where the work lies, and where the server says what it has done."""


@cache
def work() -> dict[str, Any]:
    """Return ``inputs`` ``[C, n, 1, 28, 28]``, ``targets`` ``[C, n]``, ``batch``, ``rate`` and ``rounds``."""
    found: dict[str, Any] = torch.load(FOLDER / "work.pt", weights_only=True)
    return found


def network() -> nn.Module:
    """Return the small CNN with the names of sglr's."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(1, 16, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(16, 32, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(32 * 7 * 7, 64),
            relu3=nn.ReLU(),
            fc2=nn.Linear(64, 10),
        )
    )
