"""The network of the study of time to accuracy whose weights, 50 MB, are nearly all at the server."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

WIDTH = 7900
"""Units of the wide layer, whose 12.4 million weights are those of the network but for 80,000."""


def wide(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return the small CNN with a wide layer instead of one of 64 units; cut it behind ``pool1``."""
    channels, height, width = input_shape
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(channels, 16, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(16, 32, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(32 * (height // 4) * (width // 4), WIDTH),
            relu3=nn.ReLU(),
            fc2=nn.Linear(WIDTH, classes),
        )
    )
