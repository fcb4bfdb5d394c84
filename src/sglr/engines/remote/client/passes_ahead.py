"""The weights that passes ahead of their gradients ran with.

A pass that runs ahead needs weights that the next update does not change under it, so each has a copy. The copy stays
until the gradient has come: a pass that was dropped, because the server asked for something else or this process ended,
runs again with the same weights, and gives the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sglr.core.weights import Weights, below, state_of
from sglr.stacking.stack import Stack
from sglr.stacking.stale import compensated

ROW = (0,)
"""A client's stack has one row."""


class PassesAhead:
    """Copies of a client's segment, one for each pass whose gradient has not come.

    Parameters
    ----------
    depth
        N, the batches that are run forward before the gradient of the first has come, beyond that one.
    make
        Makes a copy of the segment.
    strength
        λ by which gradients are corrected, as in `sglr.stacking.stale.compensated`.
    """

    def __init__(self, depth: int, make: Callable[[], Stack], strength: float) -> None:
        self._stacks = [make() for _ in range(depth + 1)] if depth else []
        self._held: list[tuple[int, int] | None] = [None] * len(self._stacks)
        self._strength = strength

    def stack_for(self, epoch: int, step: int, current: Stack) -> Stack:
        """Return the copy that a step's pass runs on: with the weights that it ran with before, or else the current.

        Without passes ahead, it is ``current`` itself.
        """
        if not self._stacks:
            return current
        place = step % len(self._stacks)
        stack = self._stacks[place]
        if self._held[place] == (epoch, step):
            stack.put_buffers(ROW, current.buffers)
        else:
            stack.load(ROW, {name: tensor[0] for name, tensor in current.weights(ROW).items()})
            self._held[place] = (epoch, step)
        return stack

    def compensated(self, then: Stack, gradients: Sequence[Tensor], now: Stack) -> Sequence[Tensor]:
        """Correct gradients ``[1, ...]`` of a pass for the delay."""
        if not self._strength or then is now:
            return gradients
        return compensated(gradients, _trained(now), _trained(then), self._strength)

    def over(self, epoch: int, step: int) -> None:
        """Note that a step's gradient has come."""
        if (epoch, step) in self._held:
            self._held[self._held.index((epoch, step))] = None

    def forget(self) -> None:
        """Have all passes to come run with the weights as they are then."""
        self._held = [None] * len(self._stacks)

    def state(self) -> dict[str, Tensor]:
        """Return the weights of passes whose gradients have not come, by epoch, step and name."""
        return {
            f"{held[0]}.{held[1]}.{name}": tensor.detach().clone()
            for held, stack in zip(self._held, self._stacks, strict=True)
            if held is not None
            for name, tensor in stack.parameters.items()
        }

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        self.forget()
        for epoch, step in sorted({_where(name) for name in tensors}):
            place = step % len(self._stacks)
            self._held[place] = (epoch, step)
            self._stacks[place].load(ROW, {name: one[0] for name, one in below(f"{epoch}.{step}.", tensors).items()})


def bytes_of_copy(segment: nn.Module) -> int:
    """Return the bytes of a copy of a segment for one pass ahead: its trained weights and its buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in state_of(segment).values())


def bytes_of_pass(segment: nn.Module, inputs: Tensor) -> int:
    """Return the bytes that a pass of inputs ``[b, ...]`` keeps for its backward pass, beside weights."""
    own, given = copy.deepcopy(segment).cpu().train(), inputs.cpu()
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*own.parameters(), *own.buffers())}
    kept = {given.untyped_storage().data_ptr(): given.untyped_storage().nbytes()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = own(given)
        note(outputs)
    return sum(kept.values())


def _trained(stack: Stack) -> list[Tensor]:
    return [tensor.detach() for tensor in stack.parameters.values()]


def _where(name: str) -> tuple[int, int]:
    epoch, step, _ = name.split(".", 2)
    return int(epoch), int(step)
