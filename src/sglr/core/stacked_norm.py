"""Batch normalisation of stacked clients as one batch normalisation over all their channels.

``torch.func.vmap`` normalises C clients of c channels each as one batch of C·c channels, but scales and shifts them in
operations of their own, whose passes over memory cost a quarter of a stacked ResNet's training step. Here
weights, biases and running statistics are merged too, and the numbers are those of a loop over clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class stacked_batch_norm(TorchFunctionMode):  # noqa: N801 - a context manager, named like one
    """Within this context, ``vmap`` over clients merges their batch normalisations in training.

    Evaluation, inputs that are not batched and gradients taken inside ``vmap`` follow PyTorch's own rule.

    Examples
    --------
    >>> import torch
    >>> norm = torch.nn.BatchNorm2d(4, track_running_stats=True)
    >>> state = {name: torch.stack([value] * 3) for name, value in norm.state_dict().items()}
    >>> with stacked_batch_norm():
    ...     y = torch.func.vmap(lambda s, x: torch.func.functional_call(norm, s, x))(state, torch.ones(3, 2, 4, 5, 5))
    >>> y.shape
    torch.Size([3, 2, 4, 5, 5])
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run ``func``, or what replaces it."""
        run = _batch_norm if func is F.batch_norm else func
        return run(*args, **(kwargs or {}))


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
    stacked = torch._C._functorch.is_batchedtensor(input)
    if not (stacked and training) or running_mean is None or running_var is None:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    output, mean, var = _Merged.apply(input, running_mean, running_var, weight, bias, momentum, eps)
    running_mean.copy_(mean)
    running_var.copy_(var)
    return output


class _Merged(Function):
    """Only a carrier of the rule for ``vmap``: outside of it, it is not called."""

    @staticmethod
    def forward(*_: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        raise NotImplementedError

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: Tensor,
        *state_and_rates: Any,
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Normalise the clients' inputs, stacked at ``in_dims[0]``: [b, C, c, ...] as [b, C·c, ...]."""
        *state, momentum, eps = state_and_rates
        clients = info.batch_size
        mean, var, weight, bias = (_flat(t, dim, clients) for t, dim in zip(state, in_dims[1:5], strict=True))
        # Copies, since whoever calls may see the statistics before this step as well.
        mean, var = mean.clone(), var.clone()
        merged = x.movedim(in_dims[0], 1).flatten(1, 2)
        y = F.batch_norm(merged, mean, var, weight, bias, True, momentum, eps)
        shape = (clients, -1)
        return (y.unflatten(1, shape), mean.unflatten(0, shape), var.unflatten(0, shape)), (1, 0, 0)


def _flat(tensor: Tensor | None, dim: int | None, clients: int) -> Tensor | None:
    if tensor is None:
        return None
    rows = tensor.expand(clients, -1) if dim is None else tensor.movedim(dim, 0)
    return rows.flatten()
