"""Convolutions of stacked clients as one: a grouped convolution, or batched products of matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def grouped_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    """Convolve as one layer over all channels, each client's a group of its own.

    Parameters
    ----------
    x, weight, bias
        ``[b, C, c, h, w]``, ``[C, n, c, k, k]`` and ``[C·n]``.
    stride, padding, dilation, groups
        Of each client's convolution, as `torch.nn.functional.conv2d` takes them.

    Returns
    -------
    Tensor
        ``[b, C, n, h', w']``.
    """
    clients = len(weight)
    y = F.conv2d(x.flatten(1, 2), weight.flatten(0, 1), bias, stride, padding, dilation, clients * groups)
    return torch.unflatten(y, 1, (clients, -1))


def matmul_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    """Convolve by unfolding every client's images into columns, and multiplying these with its weights.

    Takes and returns what `grouped_convolution` does; a client's convolution that has groups itself, or names its
    padding, is done that way.
    """
    if groups != 1 or isinstance(padding, str):
        return grouped_convolution(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
    batch, clients = x.shape[:2]
    kernel = weight.shape[3:]
    columns = F.unfold(x.transpose(0, 1).flatten(0, 1), kernel, dilation, padding, stride)
    y = weight.flatten(2)[:, None] @ torch.unflatten(columns, 0, (clients, batch))
    if bias is not None:
        y = y + bias.reshape(clients, 1, -1, 1)
    size = [
        (length + 2 * _pair(padding)[axis] - _pair(dilation)[axis] * (kernel[axis] - 1) - 1) // _pair(stride)[axis] + 1
        for axis, length in enumerate(x.shape[3:])
    ]
    return torch.unflatten(y, 3, size).transpose(0, 1)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
