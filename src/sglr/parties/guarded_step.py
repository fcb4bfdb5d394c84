"""What a client's defences need of a step until its gradients come: who is in it, with which labels and inputs."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from sglr.parties.defences import Guard


@dataclass(frozen=True)
class GuardedStep:
    """A step of clients side by side.

    Parameters
    ----------
    guard
        Their defences.
    clients, sizes
        Who is in the step, C of them, and how many samples each has.
    labels
        Theirs, ``[C, b]``.
    inputs
        Those of every forward pass, ``[n, b, ...]``, kept only where a defence pulls by them.
    """

    guard: Guard
    clients: tuple[int, ...]
    sizes: tuple[int, ...]
    labels: Tensor
    inputs: list[Tensor] = field(default_factory=list)

    def ran(self, inputs: Tensor) -> None:
        """Take note of the inputs of the next forward pass."""
        if self.guard.pulls:
            self.inputs.append(inputs)

    def arrived(self, gradients: Tensor) -> None:
        """Look at the cut-layer gradients ``[C, b, ...]`` that came."""
        self.guard.watch(gradients, self.labels, self.clients, self.sizes)

    def pulled(self, number: int, smashed: Tensor, gradients: Tensor) -> Tensor:
        """Return the gradients ``[n, b, ...]`` that a pass goes back with, given those that came for it."""
        return gradients + self.guard.pull(self.inputs[number], smashed) if self.guard.pulls else gradients
