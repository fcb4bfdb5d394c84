"""Sequential (vanilla) split learning: one client at a time, its segment handed to the next (paper, eq. 1-3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink

__all__ = ["SSL"]


@dataclass(frozen=True)
class SSL(Method):
    """Train clients one after another against one server, in a new random order every epoch.

    When a client has passed over its data, its segment's weights go to the next one. Merging a cohort of one is
    handing on.
    """

    shares: ClassVar[bool] = True

    def cohorts(self, clients: tuple[int, ...], rng: np.random.Generator) -> list[tuple[int, ...]]:
        """Let every client train alone."""
        return [(client,) for client in rng.permutation(clients).tolist()]

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one step of both segments on the client's batch."""
        return Downlink(server.learn(uplink, context, context.server_rate))
