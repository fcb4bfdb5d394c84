"""Give a network its inputs as it expects them: each channel less its mean, divided by its standard deviation.

sglr's images are in [-1, 1], the same for every network. What a network by name expects beside that is part of it:
two frozen tensors, which the run folder keeps with the other frozen weights, so that every client, ``sglr predict`` and
an exported file do the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sglr.splitting.derived import derive

MEAN, DEVIATION = "input_mean", "input_deviation"
"""The names of the frozen tensors."""


def scale_inputs(
    model: nn.Module, mean: Sequence[float], deviation: Sequence[float], shape: tuple[int, ...]
) -> nn.Module:
    """Make a model take inputs in [-1, 1] and standardise them first; return the model.

    Parameters
    ----------
    model
        A module whose forward takes one input. Its class is replaced by one that is derived from it, so that the
        names of its layers stay.
    mean, deviation
        Of each channel, for values in [0, 1]; with another number of channels than ``shape`` has, their mean is used.
    shape
        Of one input, ``[channels, ...]``.
    """
    channels = shape[0]
    centre, width = _of_channels(mean, channels), _of_channels(deviation, channels)
    if bool((centre == 0.5).all()) and bool((width == 0.5).all()):
        return model
    each = (channels, *[1] * (len(shape) - 1))
    # x in [-1, 1] is 2 p - 1 for p in [0, 1].
    model.register_parameter(MEAN, nn.Parameter((2 * centre - 1).view(each), requires_grad=False))
    model.register_parameter(DEVIATION, nn.Parameter((2 * width).view(each), requires_grad=False))
    return derive(model, _Scaled)


class _Scaled(nn.Module):
    input_mean: Tensor
    input_deviation: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's output for inputs in [-1, 1]."""
        output: Tensor = super().forward((x - self.input_mean) / self.input_deviation)
        return output


def _of_channels(values: Sequence[float], channels: int) -> Tensor:
    given = torch.tensor([float(value) for value in values])
    return given if len(given) == channels else given.mean().expand(channels)
