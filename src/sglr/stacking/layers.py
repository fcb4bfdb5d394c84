"""Layers of stacked clients as one layer over all their channels: C clients of c channels each are C·c channels.

``torch.func.vmap`` does this for convolutions, but adds their biases in an operation of its own. So it does with the
scale and shift of normalised batches: those passes over memory cost a fifth of a stacked ResNet's training step. It
pools C·b images of c channels, for which it must move them all in memory. Of a linear layer it returns the gradient
transposed: to bring those of 1,000 clients into their weights' layout took a third of a step of the mlp. Here all of
these go by channels, or by rows; the numbers are a loop's over clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sglr.stacking.convolution import grouped_convolution, matmul_convolution
from sglr.stacking.linear import linear_rows


class stacked_layers(TorchFunctionMode):  # noqa: N801 - a context manager, named like one
    """Within this context, ``vmap`` over clients merges their layers.

    These are convolutions, linear layers, poolings, and batch normalisations in training. Inputs that are not batched
    and gradients taken inside ``vmap`` follow PyTorch's own rule.

    Parameters
    ----------
    by_matmul
        True if convolutions run as products of matrices (`sglr.stacking.convolution`), False if as one grouped
        convolution.

    Examples
    --------
    >>> import torch
    >>> from torch.func import functional_call, stack_module_state, vmap
    >>> norm = torch.nn.BatchNorm2d(4)
    >>> weights, buffers = stack_module_state([norm] * 3)
    >>> with stacked_layers():
    ...     run = vmap(lambda w, s, x: functional_call(norm, (w, s), x))
    ...     y = run(weights, buffers, torch.ones(3, 2, 4, 5, 5))
    >>> y.shape
    torch.Size([3, 2, 4, 5, 5])
    """

    def __init__(self, *, by_matmul: bool = False) -> None:
        super().__init__()
        self._convolve = matmul_convolution if by_matmul else grouped_convolution

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run ``func``, or what replaces it."""
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return _batch_norm(*args, **kwargs)
        if func in POOLINGS and _is_stack_of_images(args[0]) and not kwargs.get("return_indices"):
            merged: Callable[..., Tensor] = _MergedPooling.apply
            return merged(args[0], partial(func, **kwargs), *args[1:])
        if func is F.linear and _are_stacks(args[:2]) and args[0].dim() == 2:
            return _linear(*args, **kwargs)
        if func is F.conv2d and _are_stacks(args[:2]) and args[0].dim() == 4:
            return _convolution(self._convolve, *args, **kwargs)
        if func is F.embedding:
            return _embedding(*args, **kwargs)
        return func(*args, **kwargs)


def _embedding(tokens: Tensor, weight: Tensor, padding_idx: int | None = None, *args: Any, **kwargs: Any) -> Tensor:
    """Embed tokens; ``vmap`` alone would train the padding's vector, which an embedding with ``padding_idx`` keeps."""
    found = F.embedding(tokens, weight, None, *args, **kwargs)
    if padding_idx is None:
        return found
    return torch.where((tokens == padding_idx).unsqueeze(-1), found.detach(), found)


POOLINGS = frozenset({F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d})
"""Poolings that treat every channel alike, so that clients can be channels."""


def _is_stack_of_images(value: Any) -> bool:
    return _are_stacks([value]) and value.dim() == 4


def _are_stacks(values: Sequence[Any]) -> bool:
    return all(torch._C._functorch.is_batchedtensor(value) for value in values)


def _linear(
    input: Tensor,  # noqa: A002 - the names are those of torch.nn.functional.linear
    weight: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    merged: Callable[..., Tensor] = _MergedLinear.apply
    return merged(input, weight, bias)


def _convolution(
    convolve: Callable[..., Tensor],
    input: Tensor,  # noqa: A002 - the names are those of torch.nn.functional.conv2d
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    merged: Callable[..., Tensor] = _MergedConvolution.apply
    return merged(input, weight, bias, partial(convolve, stride=stride, padding=padding, dilation=dilation), groups)


def _batch_norm(
    input: Tensor,  # noqa: A002 - the names are those of torch.nn.functional.batch_norm
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not (_are_stacks([input]) and training) or running_mean is None or running_var is None:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    merged: Callable[..., tuple[Tensor, Tensor, Tensor]] = _MergedNorm.apply
    output, mean, var = merged(input, running_mean, running_var, weight, bias, momentum, eps)
    running_mean.copy_(mean)
    running_var.copy_(var)
    return output


class _VmapRule(Function):
    """Only a carrier of the rule for ``vmap``: outside of it, it is not called."""

    @staticmethod
    def forward(*_: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        raise NotImplementedError


class _MergedNorm(_VmapRule):
    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, ...], x: Tensor, mean: Tensor, var: Tensor, *rest: Any
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Normalise the clients' inputs, stacked at ``in_dims[0]``: [b, C, c, ...] as [b, C·c, ...]."""
        weight, bias, momentum, eps = rest
        clients, (_, of_mean, of_var, of_weight, of_bias, *_) = info.batch_size, in_dims
        # Copies, for whoever still needs the statistics of before this step.
        mean, var = _flat(mean, of_mean, clients).clone(), _flat(var, of_var, clients).clone()
        weight = None if weight is None else _flat(weight, of_weight, clients)
        bias = None if bias is None else _flat(bias, of_bias, clients)
        y = F.batch_norm(x.movedim(in_dims[0], 1).flatten(1, 2), mean, var, weight, bias, True, momentum, eps)
        rows = (clients, len(mean) // clients)
        return (y.reshape(len(y), *rows, *y.shape[2:]), mean.reshape(rows), var.reshape(rows)), (1, 0, 0)


class _MergedPooling(_VmapRule):
    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, ...], x: Tensor, pool: Callable[..., Tensor], *rest: Any
    ) -> tuple[Tensor, int]:
        """Pool the clients' images, stacked at ``in_dims[0]``: [b, C, c, h, w] as [b, C·c, h, w]."""
        y = pool(x.movedim(in_dims[0], 1).flatten(1, 2), *rest)
        return y.reshape(len(y), info.batch_size, -1, *y.shape[2:]), 1


class _MergedLinear(_VmapRule):
    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, ...], x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:
        """Multiply every client's inputs with its own weights: [C, b, n] with [C, m, n]."""
        of_x, of_weight, of_bias = in_dims
        shift = (
            None if bias is None else torch.unflatten(_flat(bias, of_bias, info.batch_size), 0, (info.batch_size, -1))
        )
        return linear_rows(x.movedim(of_x, 0), weight.movedim(of_weight, 0), shift), 0


class _MergedConvolution(_VmapRule):
    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int, ...],
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        convolve: Callable[..., Tensor],
        groups: int,
    ) -> tuple[Tensor, int]:
        """Convolve the clients' images [b, C, c, h, w], each with its own weights [C, n, c, k, k]."""
        of_x, of_weight, of_bias, *_ = in_dims
        shift = None if bias is None else _flat(bias, of_bias, info.batch_size)
        return convolve(x.movedim(of_x, 1), weight.movedim(of_weight, 0), shift, groups=groups), 1


def _flat(tensor: Tensor, dim: int | None, clients: int) -> Tensor:
    """Return one row per client, end to end; a tensor that clients share has ``dim`` None."""
    rows = tensor.expand(clients, -1) if dim is None else tensor.movedim(dim, 0)
    return rows.flatten()
