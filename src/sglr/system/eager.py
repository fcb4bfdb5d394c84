"""Parts of torch without the wrappers for ``torch.compile``.

Creating or stepping an optimizer, a dispatch mode and ``torch.autograd.grad`` each import torch's compiler or sympy on
first use, which takes longer than a small training, only to disable the compiler or to compare shapes.
`inspect.unwrap` finds the wrapped functions, so versions of torch without wrappers work the same. Compiled
passes are not affected: `sglr.stacking.compiled` imports the compiler for them.
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
    """A dispatch mode whose ``__torch_dispatch__`` is not wrapped."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)  # type: ignore[no-untyped-call]
        cls.__torch_dispatch__ = inspect.unwrap(cls.__torch_dispatch__)  # type: ignore[method-assign]


def backward(
    outputs: Sequence[Tensor], leaves: Sequence[Tensor], arrived: Sequence[Tensor], *, again: bool = False
) -> tuple[Tensor, ...]:
    """Return the gradients of the leaves from those of the outputs, as ``torch.autograd.grad`` does.

    Parameters
    ----------
    outputs, arrived
        The computed tensors, and the gradient of each, with its shape.
    leaves
        The tensors whose gradients to return; zero for one that was not used.
    again
        True if the same outputs will be gone back from again.
    """
    if _ENGINE is None:
        return torch.autograd.grad(
            outputs, leaves, arrived, retain_graph=again, allow_unused=True, materialize_grads=True
        )
    found = _ENGINE.run_backward(
        tuple(outputs),
        tuple(arrived),
        again,  # retain the graph
        False,
        tuple(leaves),
        allow_unreachable=True,
        accumulate_grad=False,
    )
    pairs = zip(found, leaves, strict=True)
    return tuple(torch.zeros_like(leaf) if gradient is None else gradient for gradient, leaf in pairs)
