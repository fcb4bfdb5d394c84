"""ResNet of 16 layers from the SGLR paper: 9 at the client (stem, stages 1 and 2), 7 at the server."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from sglr.core.model import require_image

__all__ = ["ResNet16"]


class ResNet16(nn.Sequential):
    """3x3 stem, stages of [2, 2, 3] basic blocks with widths 16, 32, 64, pooling and a linear classifier.

    Layers are counted as usual, without the 1x1 shortcuts: 1 + 2 * (2 + 2 + 3) + 1 = 16
    (arXiv 2112.05929, Section 4).

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

    default_cut: ClassVar[str] = "layer2"

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        channels, _, _ = require_image("resnet16", input_shape, least=8)
        super().__init__(
            OrderedDict[str, nn.Module](
                stem=nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
                layer1=_stage(16, 16, blocks=2, stride=1),
                layer2=_stage(16, 32, blocks=2, stride=2),
                layer3=_stage(32, 64, blocks=3, stride=2),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                fc=nn.Linear(64, classes),
            )
        )


class _BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (_BasicBlock(outputs, outputs, stride=1) for _ in range(blocks - 1))
    return nn.Sequential(_BasicBlock(inputs, outputs, stride), *rest)
