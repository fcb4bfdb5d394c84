"""Parts of torch without what they are wrapped in for ``torch.compile``.

Making or stepping an optimizer, a dispatch mode and ``torch.autograd.grad`` each import torch's compiler or sympy when
they are first used, which takes longer than a small training, only to keep the compiler out or to compare shapes.
What is wrapped is found by `inspect.unwrap`, so that a version of torch without wrappers gives the same. Compiled
passes are not concerned: `sglr.stacking.compiled` imports the compiler for them.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_ENGINE: Any = getattr(torch.autograd.Variable, "_execution_engine", None)


class EagerMode(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch leaves it untyped
    """A dispatch mode whose ``__torch_dispatch__`` stays as it is written."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)  # type: ignore[no-untyped-call]
        cls.__torch_dispatch__ = inspect.unwrap(cls.__torch_dispatch__)  # type: ignore[method-assign]


def backward(outputs: Sequence[Tensor], leaves: Sequence[Tensor], arrived: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return gradients by the leaves, given those by the outputs, as ``torch.autograd.grad`` does.

    Parameters
    ----------
    outputs, arrived
        What was computed, and a gradient by each, of its shape.
    leaves
        What gradients are wanted by; where one was not used, its gradient is zero.
    """
    if _ENGINE is None:
        return torch.autograd.grad(outputs, leaves, arrived, allow_unused=True, materialize_grads=True)
    found = _ENGINE.run_backward(
        tuple(outputs),
        tuple(arrived),
        False,  # the graph is not needed again
        False,
        tuple(leaves),
        allow_unreachable=True,
        accumulate_grad=False,
    )
    pairs = zip(found, leaves, strict=True)
    return tuple(torch.zeros_like(leaf) if gradient is None else gradient for gradient, leaf in pairs)
