"""A cut of a model with its figures: what crosses, bytes, operations and weights on either side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

Leak = Callable[[Tensor, list[Tensor]], float]
"""Tells of inputs ``[n, ...]`` and of what crosses for them how much of the inputs is in it."""

BYTES = 4
"""Bytes of a number on the wire without compression: floats, and integers beside them, have 32 bits."""


@dataclass(frozen=True)
class Crosses:
    """A value that crosses a cut.

    Parameters
    ----------
    name
        The layer, or the operation, that makes it.
    shape
        Of one sample.
    dtype
        Its type.
    learned
        Whether gradients come back for it; else it goes beside what is learned, as integers.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    learned: bool = True

    @property
    def size(self) -> int:
        """Numbers of one sample."""
        return torch.Size(self.shape).numel()


@dataclass(frozen=True)
class CutFigures:
    """A cut and what it decides.

    Parameters
    ----------
    layer
        The client's last layer, as ``--cut`` takes it.
    crosses
        What crosses.
    client_flops, server_flops
        Operations of one sample forward, on either side.
    client_weights, server_weights
        How many trained and frozen weights are on either side.
    leak
        What of the inputs is in what crosses; None where it was not asked for, or can't be told.
    """

    layer: str
    crosses: tuple[Crosses, ...]
    client_flops: float
    server_flops: float
    client_weights: int
    server_weights: int
    leak: float | None = None

    @property
    def bytes(self) -> int:
        """Bytes of one sample's smashed data."""
        return BYTES * sum(value.size for value in self.crosses)

    @property
    def share(self) -> float:
        """The client's share of the operations, 0 to 1."""
        whole = self.client_flops + self.server_flops
        return self.client_flops / whole if whole else 0.0

    def record(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {**asdict(self), "bytes": self.bytes, "share": self.share}


@dataclass(frozen=True)
class Link:
    """A client's way to the server, and what both compute.

    Parameters
    ----------
    rate
        Bytes per second.
    rtt
        Seconds of a round trip.
    client, server
        Operations per second.
    """

    rate: float
    rtt: float
    client: float
    server: float

    def seconds(self, cut: CutFigures, batch: int) -> float:
        """Return the time of a step with a batch: smashed data up, gradients down, forward and twice that backward."""
        computing = 3 * (cut.client_flops / self.client + cut.server_flops / self.server)
        return self.rtt + batch * (2 * cut.bytes / self.rate + computing)
