"""Small CNN without normalisation: one convolution and one max-pool at the client; images from 8x8."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import nn

from sglr.core.model import require_image

__all__ = ["Cnn"]


class Cnn(nn.Sequential):
    """Two 3x3 convolutions (16 and 32 channels), each with ReLU and max-pool, and two linear layers.

    Parameters
    ----------
    input_shape
        (channels, height, width) of one image, at least 8 x 8.
    classes
        Number of classes.

    Raises
    ------
    UsageError
        If an input is not an image, or smaller than 8 x 8.
    """

    default_cut: ClassVar[str] = "pool1"

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        channels, height, width = require_image("cnn", input_shape, least=8)
        super().__init__(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(channels, 16, 3, padding=1),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(16, 32, 3, padding=1),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                flatten=nn.Flatten(),
                fc1=nn.Linear(32 * (height // 4) * (width // 4), 64),
                relu3=nn.ReLU(),
                fc2=nn.Linear(64, classes),
            )
        )
