"""Linear layers of stacked clients as one batched product of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def linear_rows(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x_i · w_iᵀ + bias_i for every client i.

    Parameters
    ----------
    x, weight, bias
        ``[C, b, n]``, ``[C, m, n]`` and ``[C, m]``.

    Returns
    -------
    Tensor
        ``[C, b, m]``.
    """
    run: Callable[..., Tensor] = _LinearRows.apply
    if torch.is_autocast_enabled(x.device.type):
        # Autocast ends before the backward pass, so that the product can't be left to it.
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    # Rows of one client side by side: a product of strided rows takes more than twice as long.
    return run(x.contiguous(), weight, bias)


class _LinearRows(Function):
    """A batched product whose gradient by the weights has the weights' own layout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        if bias is None:
            return torch.bmm(x, weight.transpose(1, 2))
        return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_output: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        by_output = by_output.contiguous()
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            torch.bmm(by_output, weight) if wants_x else None,
            torch.bmm(by_output.transpose(1, 2), x) if wants_weight else None,
            by_output.sum(1) if wants_bias else None,
        )
