"""Small encoder and decoder for segmentation: a class for every pixel or voxel; one convolution at the client."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import nn

from sglr.core.errors import UsageError
from sglr.core.model import other_shape

__all__ = ["Fcn"]

LEAST = 8
"""Pixels a side, at least."""


class Fcn(nn.Sequential):
    """Convolutions down to a quarter of the size and up to the whole again (16, 32, 64, 32, 16 channels), with ReLU.

    A fully convolutional network (Long, Shelhamer, Darrell, 2015, arXiv 1411.4038) without the connections that skip
    layers, so that a single tensor crosses every cut. It grows by the nearest neighbour and a convolution, which leaves
    no checkerboard (Odena et al., 2016), to the exact size of any image.

    Parameters
    ----------
    input_shape
        (channels, height, width) of an image or (channels, depth, height, width) of a volume, at least 8 each way.
    classes
        K: the output is ``[K, height, width]`` or ``[K, depth, height, width]``.

    Raises
    ------
    UsageError
        If an input is no image or volume, or smaller.
    """

    default_cut: ClassVar[str] = "pool1"

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        channels, *size = _checked(input_shape)
        flat = len(size) == 2
        convolution = nn.Conv2d if flat else nn.Conv3d
        pooling = nn.MaxPool2d if flat else nn.MaxPool3d
        super().__init__(
            OrderedDict[str, nn.Module](
                conv1=convolution(channels, 16, 3, padding=1),
                relu1=nn.ReLU(),
                pool1=pooling(2),
                conv2=convolution(16, 32, 3, padding=1),
                relu2=nn.ReLU(),
                pool2=pooling(2),
                conv3=convolution(32, 64, 3, padding=1),
                relu3=nn.ReLU(),
                up4=nn.Upsample(tuple(length // 2 for length in size)),
                conv4=convolution(64, 32, 3, padding=1),
                relu4=nn.ReLU(),
                up5=nn.Upsample(tuple(size)),
                conv5=convolution(32, 16, 3, padding=1),
                relu5=nn.ReLU(),
                scores=convolution(16, classes, 1),
            )
        )


def _checked(input_shape: tuple[int, ...]) -> tuple[int, ...]:
    shown = list(input_shape)
    if len(input_shape) not in (3, 4):
        raise other_shape("fcn", "images [channels, height, width] or volumes", input_shape)
    if min(input_shape[1:]) < LEAST:
        problem = f"needs images of at least {LEAST} pixels a side, but one input has shape {shown}"
        raise UsageError("model", "fcn", problem, "use larger images, or model = mlp")
    return input_shape
