"""Small CNN for time series of any length, such as an ECG: one convolution and one max-pool at the client."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import nn

from sglr.core.errors import UsageError
from sglr.core.model import other_shape

__all__ = ["Cnn1d"]

LEAST = 8
"""Points in time, at least."""


class Cnn1d(nn.Sequential):
    """Three convolutions over time (16, 32 and 64 channels) with ReLU, the mean over time, and a linear layer.

    The fully convolutional network of Wang, Yan and Oates (2017, arXiv 1611.06455), smaller, with max-pools, and
    without normalisation, which depends on the batch.

    Parameters
    ----------
    input_shape
        (channels, time) of one series, at least 8 points in time.
    classes
        K, the number of values that it gives.

    Raises
    ------
    UsageError
        If an input is no series, or shorter.
    """

    default_cut: ClassVar[str] = "pool1"

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        if len(input_shape) != 2:
            raise other_shape("cnn1d", "series [channels, time]", input_shape)
        if input_shape[1] < LEAST:
            problem = f"needs at least {LEAST} points in time, but one input has shape {list(input_shape)}"
            raise UsageError("model", "cnn1d", problem, "use longer series, or model = mlp")
        super().__init__(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv1d(input_shape[0], 16, 7, padding=3),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool1d(2),
                conv2=nn.Conv1d(16, 32, 5, padding=2),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool1d(2),
                conv3=nn.Conv1d(32, 64, 3, padding=1),
                relu3=nn.ReLU(),
                mean=nn.AdaptiveAvgPool1d(1),
                flatten=nn.Flatten(),
                scores=nn.Linear(64, classes),
            )
        )
