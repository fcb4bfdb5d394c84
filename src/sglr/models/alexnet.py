"""AlexNet sized for 28x28 and 32x32 images: one convolution and one max-pool at the client."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import nn

from sglr.core.model import require_image

__all__ = ["AlexNet"]


class AlexNet(nn.Sequential):
    """Five convolutions of AlexNet's widths with 3x3 kernels, and three linear layers with dropout.

    The linear layers are 1,024 wide, not 4,096. Adaptive pooling to 2 x 2 allows other image sizes.
    As in the paper's Table 4, the client has one convolution and one max-pool.

    Parameters
    ----------
    input_shape
        (channels, height, width) of one image, at least 16 x 16.
    classes
        Number of classes.

    Raises
    ------
    UsageError
        If an input is not an image, or smaller than 16 x 16.
    """

    default_cut: ClassVar[str] = "pool1"

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        channels, _, _ = require_image("alexnet", input_shape, least=16)
        super().__init__(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(channels, 64, 3, stride=2, padding=1),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(64, 192, 3, padding=1),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                conv3=nn.Conv2d(192, 384, 3, padding=1),
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(384, 256, 3, padding=1),
                relu4=nn.ReLU(),
                conv5=nn.Conv2d(256, 256, 3, padding=1),
                relu5=nn.ReLU(),
                pool5=nn.AdaptiveAvgPool2d(2),
                flatten=nn.Flatten(),
                dropout6=nn.Dropout(),
                fc6=nn.Linear(256 * 2 * 2, 1024),
                relu6=nn.ReLU(),
                dropout7=nn.Dropout(),
                fc7=nn.Linear(1024, 1024),
                relu7=nn.ReLU(),
                fc8=nn.Linear(1024, classes),
            )
        )
