"""SplitAvg: active clients back-propagate their averaged cut-layer gradient (paper, eq. 15-16).

The average is a mean over active clients (the paper writes a sum; its code, and any client optimizer that is
not Adam, needs the mean). A rule of averaging is a function of this file, found by its name in `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sglr.core.cuts.cut_rows import CutRows, of_rows, to_rows
from sglr.core.errors import UsageError, unknown
from sglr.core.types import Average, Downlink, StepContext, Uplink
from sglr.core.weights import to_device


@dataclass(frozen=True)
class SplitAvg:
    """The averaging step of SGL and SGLR.

    Parameters
    ----------
    phi
        φ in [0, 1], the fraction of clients that is active; 0 is off.
    average
        The rule of averaging, a name of `RULES`.
    phase
        ``"all"`` epochs, or a first or last share of them, as ``"first:0.6"`` (Table 3).
    """

    phi: float
    average: str = "position"
    phase: str = "all"

    def check(self) -> None:
        """Refuse parameters that make no sense."""
        if not 0 <= self.phi <= 1:
            raise UsageError("phi", self.phi, "is outside [0, 1]", "give a fraction of clients, such as 0.75")
        if self.average not in RULES:
            raise unknown("average", self.average, RULES)
        _read_phase(self.phase)

    @property
    def needs_labels(self) -> bool:
        """Whether the rule of averaging reads labels."""
        return self.average == "class"

    @property
    def mixed_share(self) -> float:
        """Share of clients, 0 to 1, whose gradients follow other clients' labels as much as their own."""
        return self.phi if self.average == "position" else 0.0

    def applies(self, epoch: int, epochs: int) -> bool:
        """Say whether an epoch (from 0) has averages."""
        return self.phi > 0 and in_phase(self.phase, epoch, epochs)

    def __call__(self, gradients: Tensor, uplink: Uplink, context: StepContext) -> Downlink:
        """Sample the active clients anew and return what each client back-propagates."""
        if not self.applies(context.epoch, context.epochs):
            return Downlink(gradients)
        if uplink.cuts is not None:
            return self._of_cuts(gradients, uplink, uplink.cuts, context)
        active = sample_active(len(uplink.clients), self.phi, context.rng)
        return split_avg(gradients, uplink, active, self.average)

    def _of_cuts(self, gradients: Tensor, uplink: Uplink, cuts: CutRows, context: StepContext) -> Downlink:
        """Average among the clients of each cut alone, φ of them: gradients of other shapes can't be shared."""
        received, averages = gradients.clone(), {}
        for cut, rows, own in uplink.of_cuts():
            active = sample_active(len(rows), self.phi, context.rng)
            found = split_avg(of_rows(gradients[rows], cuts.shapes[cut]), own, active, self.average)
            if found.averaged is not None and found.gradients is not None:
                received[rows] = to_rows(found.gradients, 0, cuts.width)
                averages[cut] = found.averaged
        return Downlink(received, of_cuts=averages)


def in_phase(phase: str, epoch: int, epochs: int) -> bool:
    """Say whether an epoch (from 0) lies in ``"all"``, ``"first:SHARE"`` or ``"last:SHARE"`` of the epochs."""
    part, share = _read_phase(phase)
    inside = round(share * epochs)
    return epoch < inside if part == "first" else epoch >= epochs - inside


def _read_phase(phase: str) -> tuple[str, float]:
    part, _, share = phase.partition(":")
    if phase == "all":
        return "first", 1.0
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if part not in ("first", "last") or not 0 <= value <= 1:
        raise UsageError("phase", phase, "is not a phase", "write all, first:0.6 or last:0.4")
    return part, value


def sample_active(present: int, phi: float, rng: np.random.Generator) -> list[int]:
    """Draw the active clients C_a of one step: φ·|C| of those present, to the nearest whole number.

    Returns
    -------
    list of int
        Their rows in the uplink, ascending.
    """
    active = int(phi * present + 0.5)
    return sorted(rng.choice(present, size=active, replace=False).tolist())


def split_avg(gradients: Tensor, uplink: Uplink, active: list[int], rule: str) -> Downlink:
    """Replace the active clients' cut gradients by their average; every other client keeps its own.

    Parameters
    ----------
    gradients
        Cut-layer gradients ``[C, b, ...]``.
    uplink
        The step they belong to.
    active
        Rows of the active clients.
    rule
        ``"position"`` or ``"class"``.

    Returns
    -------
    Downlink
        What each client back-propagates; with fewer than two active clients, everyone's own.
    """
    if len(active) < 2:
        return Downlink(gradients)
    longest = max(uplink.sizes[row] for row in active)
    rows = to_device(active, gradients.device)
    mask = uplink.mask[rows, :longest]
    labels = None if uplink.told is None else uplink.told[rows, :longest]
    averages, distinct = RULES[rule](gradients[rows, :longest], labels, mask)
    averages = torch.where(_like(mask, averages), averages, averages.new_zeros(()))
    received = gradients.clone()
    received[:, :longest].index_copy_(0, rows, averages)
    return Downlink(received, Average(tuple(active), distinct, by_position=rule == "position"))


def average_by_position(gradients: Tensor, labels: Tensor | None, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Average sample j of every active client with sample j of the others (the paper's rule, eq. 15).

    Where batches are unequal, the mean is over the clients that have a sample j.

    Returns
    -------
    tuple of Tensor
        The averages ``[C_a, b, ...]``, the same for every client; and those of one client ``[b, ...]``, which are
        broadcast once.
    """
    del labels
    count = mask.sum(0).clamp(min=1).to(gradients.dtype)
    mean = (gradients * _like(mask, gradients)).sum(0) / _like(count, gradients[0])
    return mean.expand_as(gradients), mean


def average_by_class(gradients: Tensor, labels: Tensor | None, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Give every active sample the mean gradient of the active samples of its own class (ours).

    Averaging by position mixes gradients of different classes, which cancel; within a class they agree.

    Returns
    -------
    tuple of Tensor
        The averages ``[C_a, b, ...]``, equal where labels are; and one of each class that occurs ``[n, ...]``, in the
        order of the classes, which are broadcast once.
    """
    assert labels is not None, "a method that averages by class says that it needs labels"
    flat, classes = gradients[mask], labels[mask]
    names, index = torch.unique(classes, return_inverse=True)
    count = torch.bincount(index, minlength=len(names)).to(flat.dtype)
    total = flat.new_zeros(len(names), *flat.shape[1:]).index_add_(0, index, flat)
    result = torch.zeros_like(gradients)
    means = total / _like(count, total)
    result[mask] = means[index]
    return result, means


def _like(values: Tensor, target: Tensor) -> Tensor:
    return values.reshape(*values.shape, *(1,) * (target.dim() - values.dim()))


RULES: Mapping[str, Callable[[Tensor, Tensor | None, Tensor], tuple[Tensor, Tensor]]] = {
    "position": average_by_position,
    "class": average_by_class,
}
"""Rules of averaging by name: (gradients ``[C_a, b, ...]``, labels ``[C_a, b]`` or None, mask ``[C_a, b]``) to averages
and the different ones among them; b is the largest batch of an active client."""
