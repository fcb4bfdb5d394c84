"""Averages at the last layer: gradients by outputs are averaged over clients before they go back (EPSL, 2303.15991)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import torch
from torch import Tensor

from sglr.core.split_avg import average_by_position
from sglr.core.types import Average, ByOutputs, Downlink, Uplink
from sglr.core.weights import to_device


@dataclass(frozen=True)
class LastLayerAvg:
    """A step whose first samples of every client go back together, n + r samples instead of N.

    Parameters
    ----------
    uplink
        What C clients sent, N samples; b is the largest batch.
    share
        φ: the first n = ⌈φ b⌉ samples of every client are averaged by position, over those that have one; the other r
        stay apart.
    """

    uplink: Uplink
    share: float

    @cached_property
    def first(self) -> int:
        """The number n of positions that are averaged."""
        return ceil(self.share * max(self.uplink.sizes) - 1e-9)

    @cached_property
    def rest(self) -> Uplink:
        """The samples that stay apart; some clients may have none."""
        sizes = tuple(max(0, size - self.first) for size in self.uplink.sizes)
        return Uplink(self.uplink.smashed[:, self.first :], None, self.uplink.clients, sizes)

    @cached_property
    def _together(self) -> Uplink:
        """A client in whose rows the averages stand."""
        mean = self._sum(self.uplink.smashed) / _like(self.uplink.mask[:, : self.first].sum(0), self.uplink.smashed[0])
        return Uplink(mean[None], None, (0,), (self.first,))

    def _sum(self, values: Tensor) -> Tensor:
        """Return the sum over clients by position, ``[n, ...]``, of ``[C, b, ...]``, zero where there is no sample."""
        return values[:, : self.first].sum(0)

    def smashed(self) -> Tensor:
        """Return where gradients go back from: the means s̄_j of the n positions, then the others, ``[n + r, ...]``."""
        together, rest = self._together, self.rest
        return torch.cat([together.flatten(together.smashed), rest.flatten(rest.smashed)])

    def joined(self, by_outputs: ByOutputs) -> ByOutputs:
        """Sum gradients by outputs ``[N, ...]`` over clients by position: ``[n + r, ...]``, as `smashed`.

        They are of the mean over all N samples, so that a sum has the weight of all samples that are in it.
        """
        return ByOutputs(
            self._joined(by_outputs.step), None if by_outputs.told is None else self._joined(by_outputs.told)
        )

    def _joined(self, by_outputs: Tensor) -> Tensor:
        values = self.uplink.unflatten(by_outputs)
        return torch.cat([self._sum(values), self.rest.flatten(values[:, self.first :])])

    def apart(self, found: Tensor) -> Tensor:
        """Return what clients back-propagate, ``[C, b, ...]``, from gradients by `smashed` ``[n + r, ...]``.

        Others are those of the client's own mean loss; the averaged ones the mean of these, clients with more samples
        counting more.
        """
        total, sizes = sum(self.uplink.sizes), to_device(self.uplink.sizes, found.device)
        mask = self.uplink.mask[:, : self.first]
        averages = found[: self.first] * _like(total / (mask * sizes[:, None]).sum(0), found)
        others = self.rest.unflatten(found[self.first :]) * _like(total / sizes, self.uplink.smashed)
        together = torch.where(_like(mask, others), averages, averages.new_zeros(()))
        return torch.cat([together, others], dim=1)

    def downlink(self, gradients: Tensor) -> Downlink:
        """Return what clients receive, given what of `apart` they may be told, ``[C, b, ...]``.

        Defences change each client's gradients on their own: the averages are averaged again, so that they are one.
        """
        mask = self.uplink.mask[:, : self.first]
        averages, distinct = average_by_position(gradients[:, : self.first], None, mask)
        received = gradients.clone()
        received[:, : self.first] = torch.where(_like(mask, averages), averages, averages.new_zeros(()))
        return Downlink(received, Average(tuple(range(len(mask))), distinct, samples=self.first))


def _like(values: Tensor, target: Tensor) -> Tensor:
    return values.reshape(*values.shape, *(1,) * (target.dim() - values.dim()))
