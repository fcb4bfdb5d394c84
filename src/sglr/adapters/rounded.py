"""Frozen linear layers in 8 or 4 bits: weights are stored as codes with scales, and made whole for each product.

Codes and scales are plain frozen tensors, so that stacked clients share them, and files, hashes and messages treat them
as any other. Torchao and bitsandbytes round in the same way; but safetensors can't hold the tensors of the former, and
layers of the latter can't be stacked.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

BLOCK = 64
"""Values that share a scale in nf4, as in QLoRA."""

NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""The 16 values of a 4-bit normal float: quantiles of a normal distribution (Dettmers et al., 2023, appendix E)."""


class RoundedLinear(nn.Module):
    """A linear layer whose weights are stored in fewer bits and never trained.

    Parameters
    ----------
    weight
        ``[m, n]`` of the layer of n inputs and m outputs.
    bias
        ``[m]``, or None.
    """

    codes: nn.Parameter
    scales: nn.Parameter

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        codes, scales = self.rounded(weight.detach())
        self.codes, self.scales = nn.Parameter(codes, requires_grad=False), nn.Parameter(scales, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    @staticmethod
    @abstractmethod
    def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes and scales of weights ``[m, n]``."""

    @staticmethod
    @abstractmethod
    def whole(codes: Tensor, scales: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the weights ``[m, n]`` that codes and scales stand for."""

    @property
    def weight(self) -> Tensor:
        """The weights that the codes stand for, ``[m, n]``."""
        return self.whole(self.codes, self.scales, (self.out_features, self.in_features))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[..., m]`` of ``[..., n]``."""
        if not torch.is_grad_enabled():
            return F.linear(x, self.weight.to(x.dtype), self.bias)
        run: Callable[..., Tensor] = _Product.apply
        y = run(x, self.codes, self.scales, type(self), (self.out_features, self.in_features))
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """Tell the sizes, on which both sides must agree."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Int8Linear(RoundedLinear):
    """Weights in 8 bits with a scale for each output, the largest of a row being 127."""

    @staticmethod
    def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes ``[m, n]``, int8, and scales ``[m, 1]``."""
        scales = (weight.abs().amax(1, keepdim=True) / 127).clamp_min(torch.finfo(torch.float32).tiny)
        return (weight / scales).round().to(torch.int8), scales

    @staticmethod
    def whole(codes: Tensor, scales: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the weights ``[m, n]``."""
        del shape
        return codes.to(scales.dtype) * scales


class NF4Linear(RoundedLinear):
    """Weights in 4 bits: the nearest of 16 quantiles of a normal distribution, with a scale for each 64 values."""

    @staticmethod
    def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes, two in a byte, uint8 ``[ceil(m n / 64), 32]``, and scales ``[ceil(m n / 64), 1]``."""
        flat = weight.flatten()
        blocks = F.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
        scales = blocks.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        levels = torch.tensor(NF4, dtype=weight.dtype)
        codes = torch.bucketize(blocks / scales, (levels[1:] + levels[:-1]) / 2).to(torch.uint8)
        return codes[:, ::2] * 16 + codes[:, 1::2], scales

    @staticmethod
    def whole(codes: Tensor, scales: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the weights ``[m, n]``."""
        levels = torch.tensor(NF4, dtype=scales.dtype, device=codes.device)
        pairs = torch.stack([codes // 16, codes % 16], 2).flatten(1)
        values = (levels[pairs.long()] * scales).flatten()
        return values[: shape[0] * shape[1]].view(shape)


class _Product(Function):
    """x · wᵀ that keeps the codes for its gradient, not the weights made of them."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, codes: Tensor, scales: Tensor, kind: type[RoundedLinear], shape: tuple[int, int]) -> Tensor:
        return F.linear(x, kind.whole(codes, scales, shape).to(x.dtype))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        x, codes, scales, ctx.kind, ctx.shape = inputs
        ctx.save_for_backward(codes, scales)
        ctx.dtype = x.dtype

    @staticmethod
    def backward(ctx: Any, by_output: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[0]:
            return None, None, None, None, None
        codes, scales = ctx.saved_tensors
        weight = ctx.kind.whole(codes, scales, ctx.shape).to(by_output.dtype)
        return (by_output @ weight).to(ctx.dtype), None, None, None, None


ROUNDED: dict[str, type[RoundedLinear]] = {"int8": Int8Linear, "nf4": NF4Linear}
"""The layers by the value of setting ``quantize``."""
