"""Decide where clients that are not in a round are kept: in the device's memory, or on disk if they don't fit."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from sglr.core.errors import UsageError
from sglr.core.optim import OptimizerSpec
from sglr.core.weights import state_of, trained_of

LARGEST_SHARE = 0.25
"""Fraction of the memory that all clients may fill: activations, data and the server need some, too."""

MANY_CLIENTS, FEW_AT_WORK = 2000, 0.1
"""With this many clients and this small a fraction at work, resting clients leave: each step passes over all rows."""


@dataclass(frozen=True)
class MemoryBudget:
    """The clients of a training, and the available memory.

    Parameters
    ----------
    clients
        The number of registered clients.
    at_work
        The number of clients in a round.
    together
        The number of clients that step together.
    each
        Bytes of one client's weights, buffers and optimizer state.
    memory
        Bytes of the device's memory.
    """

    clients: int
    at_work: int
    together: int
    each: int
    memory: int

    def store(self, wanted: str) -> str:
        """Return ``"memory"`` or ``"disk"`` for the setting ``client_store``.

        Raises
        ------
        UsageError
            If the clients that step together, or all of them in memory, need more memory than available.
        """
        if self.together * self.each > self.memory:
            problem = f"{self.together} clients that step together need {self._room(self.together)}"
            raise UsageError("clients", self.clients, problem, "give fewer clients, or a smaller --participation")
        if wanted == "memory" and self.clients * self.each > self.memory:
            problem = f"{self.clients} clients need {self._room(self.clients)}"
            raise UsageError("client_store", wanted, problem, "give --client-store disk")
        if self.together == self.clients or wanted == "memory":
            return "memory"
        few = self.clients >= MANY_CLIENTS and self.at_work <= FEW_AT_WORK * self.clients
        large = self.clients * self.each > LARGEST_SHARE * self.memory
        return "disk" if wanted == "disk" or few or large else "memory"

    def require_copies(self, each: int, method: str) -> None:
        """Refuse a method whose server keeps one copy of its segment, ``each`` bytes, per client.

        Raises
        ------
        UsageError
            If the copies need more memory than available.
        """
        if self.clients * each > self.memory:
            problem = f"its {self.clients} copies of the server's segment need {gigabytes(self.clients * each)}"
            remedy = "give fewer clients, or a method with one server segment, such as sfl"
            raise UsageError("method", method, f"{problem} of {gigabytes(self.memory)} of memory", remedy)

    def _room(self, clients: int) -> str:
        return f"{gigabytes(clients * self.each)} of {gigabytes(self.memory)} of memory"


def gigabytes(count: int) -> str:
    """Format a number of bytes as gigabytes."""
    return f"{count / 1e9:.3g} GB"


def bytes_of(segment: nn.Module, optimizer: OptimizerSpec, *, accumulates: bool = False, ahead: int = 0) -> int:
    """Return the bytes of one copy of a segment: its state, its optimizer's after a step, and gradients if kept.

    Where gradients are of weights ``ahead`` steps before, those of all steps since are counted, too.
    """
    module = copy.deepcopy(segment).cpu()
    parameters = list(trained_of(module).values())
    held = [*state_of(module).values(), *(parameters if accumulates else ()), *parameters * (ahead + 1 if ahead else 0)]
    if parameters:
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        stepping = optimizer.build(parameters, 0.0)
        stepping.step()
        held += [value for own in stepping.state.values() for value in own.values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in held)
