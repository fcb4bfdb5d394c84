"""A client's forward passes whose gradients have not come, each with the state before it, so that it can be undone."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from torch import Tensor

from sglr.compression.error_feedback import ErrorFeedbackChannel
from sglr.stacking.passes import Pass
from sglr.stacking.stack import Stack


class WaitingPass(NamedTuple):
    """A forward pass whose gradient has not come, and the state before it.

    Parameters
    ----------
    epoch, step
        Where it is in the training.
    stack
        The segment that it ran on.
    forward
        The pass.
    buffers
        Buffers of the client's segment before it.
    memory
        What compression remembered before it.
    inputs, targets
        The batch, ``[b, ...]``.
    """

    epoch: int
    step: int
    stack: Stack
    forward: Pass
    buffers: dict[str, Tensor]
    memory: dict[str, Tensor]
    inputs: Tensor
    targets: Tensor


class WaitingPasses:
    """The passes of one client whose gradients have not come, the oldest first.

    Parameters
    ----------
    stack
        The client's segment: a pass changes its buffers.
    link
        The way of its smashed data to the server: sending them changes what it remembers.
    """

    def __init__(self, stack: Stack, link: ErrorFeedbackChannel) -> None:
        self._stack, self._link = stack, link
        self._passes: deque[WaitingPass] = deque()

    def buffers(self) -> dict[str, Tensor]:
        """Return copies of the segment's buffers, which a pass that begins now needs to be undone."""
        return {name: tensor.clone() for name, tensor in self._stack.buffers.items()}

    def add(self, waiting: WaitingPass) -> None:
        """Note a pass that was run."""
        self._passes.append(waiting)

    @property
    def oldest(self) -> WaitingPass:
        """The pass whose gradient comes next."""
        return self._passes[0]

    def take_oldest(self) -> WaitingPass:
        """Return the pass whose gradient has come, and forget it."""
        return self._passes.popleft()

    def places(self) -> list[tuple[int, int]]:
        """Return epoch and step of every pass."""
        return [(waiting.epoch, waiting.step) for waiting in self._passes]

    def undo_last(self) -> None:
        """Undo the pass that was run last."""
        self._undo(self._passes.pop())

    def undo_all(self) -> None:
        """Undo all passes."""
        if self._passes:
            self._undo(self._passes[0])
            self.clear()

    def _undo(self, waiting: WaitingPass) -> None:
        """Return to the state before a pass."""
        self._stack.put_buffers((0,), waiting.buffers)
        self._link.restore(waiting.memory)

    def clear(self) -> None:
        """Forget all passes, and leave the state as it is."""
        self._passes.clear()
