"""Steps with gradients of older weights: what computing ahead of the gradients amounts to, and how it is corrected."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from sglr.core.weights import Weights, below
from sglr.stacking.rows import index_of
from sglr.stacking.stack import Stack


def compensated(
    gradients: Sequence[Tensor], now: Sequence[Tensor], then: Sequence[Tensor], strength: float
) -> list[Tensor]:
    """Correct gradients for the delay: g + λ g ⊙ g ⊙ (w_now − w_then), of each parameter.

    g ⊙ g stands for the diagonal of the second derivative, so that the sum is about the gradient at the weights that
    are stepped from (DC-ASGD: Zheng et al., arXiv 1609.08326).

    Parameters
    ----------
    gradients
        By the weights that the pass ran with.
    now, then
        The weights that are stepped from, and those that the pass ran with.
    strength
        λ; with 0 gradients stay as they are.
    """
    if not strength:
        return list(gradients)
    whole = zip(gradients, now, then, strict=True)
    return [own + strength * own * own * (current - older) for own, current, older in whole]


class StaleWeights:
    """Gives rows of a stack the weights of N steps before, for one pass: what clients do that compute N steps ahead.

    A client that runs N batches forward before the gradient of the first has come runs step t with the weights that it
    had before step t − N of the epoch, or that the epoch began with. So it is enough to keep these weights: nothing has
    to run before its time. Buffers, such as batch statistics, follow the order of the passes, and are not kept.

    Parameters
    ----------
    depth
        N.
    strength
        λ of `compensated`.
    """

    def __init__(self, depth: int, strength: float) -> None:
        self.depth, self._strength = depth, strength
        self._versions: deque[list[Tensor]] = deque(maxlen=depth + 1)
        self._rows: tuple[int, ...] = ()

    def begin_pass(self, stack: Stack, rows: tuple[int, ...], step: int) -> None:
        """Give ``rows`` the weights that they run a step of the epoch with; `end_pass` gives the newest back."""
        if step == 0:
            self._versions.clear()
        self._rows = rows
        self._versions.append(_copied(stack, rows))
        self._put(stack, self._versions[0])

    def end_pass(self, stack: Stack, *, last: bool) -> None:
        """Give the rows their newest weights again; after the ``last`` step of an epoch nothing is kept."""
        self._put(stack, self._versions[-1])
        if last:
            self._versions.clear()

    def _put(self, stack: Stack, version: Sequence[Tensor]) -> None:
        if len(self._versions) > 1:  # else these are the weights that they have
            _put(stack, self._rows, version)

    def compensated(self, rows: tuple[int, ...], gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """Correct gradients ``[n, ...]`` of some of the rows of the pass that has begun."""
        if not self._strength or len(self._versions) < 2:
            return gradients
        places = index_of(tuple(self._rows.index(row) for row in rows))
        now, then = ([tensor[places] for tensor in self._versions[end]] for end in (-1, 0))
        return compensated(gradients, now, then, self._strength)

    def state(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Return what a checkpoint between two steps needs: the weights before the last N of them, by number and name.

        ``names`` are those of the parameters.
        """
        kept = list(self._versions)[-self.depth :]
        return {
            f"{number}.{name}": tensor
            for number, version in enumerate(kept)
            for name, tensor in zip(names, version, strict=True)
        }

    def restore(self, tensors: Weights, stack: Stack) -> None:
        """Restore what `state` returned."""
        self._versions.clear()
        number = 0
        while version := below(f"{number}.", tensors):
            self._versions.append([version[name].to(stack.device).clone() for name in stack.parameters])
            number += 1


def _copied(stack: Stack, rows: tuple[int, ...]) -> list[Tensor]:
    """Return copies of the trained weights ``[n, ...]`` of rows."""
    index = index_of(rows)
    return [tensor.detach()[index].clone() for tensor in stack.parameters.values()]


def _put(stack: Stack, rows: tuple[int, ...], version: Sequence[Tensor]) -> None:
    """Set the trained weights of rows, and nothing else that they hold."""
    index = index_of(rows)
    with torch.no_grad():
        for tensor, own in zip(stack.parameters.values(), version, strict=True):
            tensor[index] = own
