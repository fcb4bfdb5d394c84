"""Gradients of several steps for one update: the mean over all samples of the steps, each copy of a segment its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from sglr.core.weights import Weights, below, to_device
from sglr.stacking.rows import index_of


class Accumulator:
    """What rows keep of gradients until they are updated: Σ_k n_k g_k and Σ_k n_k.

    g_k is the gradient of the mean loss over the n_k samples of step k. Nothing is allocated before a step is kept.

    Parameters
    ----------
    parameters
        The stacked weights ``[R, ...]`` by name.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self._sums: list[Tensor] = []
        self._samples: dict[int, int] = {}

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows that keep something, ascending."""
        return tuple(sorted(self._samples))

    def add(self, rows: tuple[int, ...], gradients: Sequence[Tensor], samples: int) -> None:
        """Keep gradients ``[n, ...]``, one per parameter, of the mean over ``samples`` samples of each row."""
        if not self._sums:
            self._sums = [torch.zeros_like(tensor, requires_grad=False) for tensor in self._parameters.values()]
        index = index_of(rows)
        for total, gradient in zip(self._sums, gradients, strict=True):
            total[index] += gradient * samples
        for row in rows:
            self._samples[row] = self._samples.get(row, 0) + samples

    def due(
        self, rows: tuple[int, ...], gradients: Sequence[Tensor], samples: int, keep: Collection[int]
    ) -> tuple[tuple[int, ...], list[Tensor]]:
        """Add gradients; return the rows that do not ``keep`` theirs, and their means ``[n, ...]``."""
        self.add(rows, gradients, samples)
        now = tuple(row for row in rows if row not in keep)
        return now, self.take(now)

    def take(self, rows: tuple[int, ...]) -> list[Tensor]:
        """Return the mean gradients of rows over all samples ``[n, ...]``, and forget them."""
        index, samples = index_of(rows), [self._samples[row] for row in rows]
        means = [total[index] / _beside(samples, total) for total in self._sums]
        self.forget(rows)
        return means

    def forget(self, rows: Sequence[int]) -> None:
        """Forget what rows keep."""
        kept = tuple(row for row in rows if self._samples.pop(row, 0))
        for total in self._sums if kept else ():
            total[index_of(kept)] = 0

    def taken_out(self, row: int) -> dict[str, Tensor]:
        """Return a copy of what a row keeps, by name; empty if it keeps nothing."""
        if row not in self._samples:
            return {}
        sums = zip(self._parameters, self._sums, strict=True)
        return {f"sums.{name}": total[row].clone() for name, total in sums} | {
            "samples": torch.tensor(self._samples[row])
        }

    def put(self, rows: Sequence[int], tensors: Weights) -> None:
        """Have rows keep ``tensors`` ``[n, ...]``, named as in `taken_out`, or nothing if there are none."""
        self.forget(rows)
        if not tensors or not len(rows):
            return
        sums = below("sums.", tensors)
        # What is kept are sums already.
        self.add(tuple(rows), [sums[name].to(tensor.device) for name, tensor in self._parameters.items()], 1)
        self._samples |= zip(rows, tensors["samples"].tolist(), strict=True)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs: of the rows that keep something, which are ``rows``."""
        kept = [self.taken_out(row) for row in self.rows]
        found = {name: torch.stack([own[name] for own in kept]) for name in (kept[0] if kept else ())}
        return found | ({"rows": torch.tensor(self.rows)} if kept else {})

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        self.forget(self.rows)
        self.put(tensors["rows"].tolist() if tensors else (), tensors)


def _beside(samples: Sequence[int], total: Tensor) -> Tensor:
    """Return numbers of samples ``[n]`` in a shape that divides ``[n, ...]``."""
    return to_device(samples, total.device).to(total.dtype).reshape(-1, *(1,) * (total.dim() - 1))
