"""Centralized learning: one model, all data in one place; the ceiling that the others are held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["CL"]


@dataclass(frozen=True)
class CL(Method):
    """Train one model on the union of all clients' data, with batches of the same size b as a client's.

    It is split learning with a single client that owns everything, which takes the same steps as the unsplit
    model (law 1). Nothing is sent while training; that the data had to be pooled is not counted.

    Notes
    -----
    With L the mean loss over a batch B of all data D, one step is:

        w ← w − η_c ∂L / ∂w
    """

    whole_model: ClassVar[bool] = True
    pooled: ClassVar[bool] = True
    merges_its_way: ClassVar[bool] = True
    joint: ClassVar[bool] = False

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one step of the whole model."""
        return Downlink(server.learn(uplink, context, context.server_rate))
