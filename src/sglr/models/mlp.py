"""Multilayer perceptron for inputs of any shape, tables too: one hidden layer at the client."""

from __future__ import annotations

from collections import OrderedDict
from math import prod
from typing import ClassVar

from torch import nn

__all__ = ["Mlp"]


class Mlp(nn.Sequential):
    """Hidden layers of 128 and 64 units with ReLU, and a linear classifier.

    Parameters
    ----------
    input_shape
        Shape of one input: (columns,) of a table, (channels, height, width) of an image, or any other.
    classes
        Number of classes.
    """

    default_cut: ClassVar[str] = "relu1"

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__(
            OrderedDict[str, nn.Module](
                flatten=nn.Flatten(),
                fc1=nn.Linear(prod(input_shape), 128),
                relu1=nn.ReLU(),
                fc2=nn.Linear(128, 64),
                relu2=nn.ReLU(),
                fc3=nn.Linear(64, classes),
            )
        )
