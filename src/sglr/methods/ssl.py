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

    Notes
    -----
    With L_i the mean loss over client i's batch, g_s,i = ∂L_i / ∂w_s and J_i = ∂s_i / ∂w_c,i, one step is, and
    after all steps of client π(k), in the epoch's random order π, the last line:

        s_i = f(w_c,i, B_i)
        g_i = ∂L_i / ∂s_i
        w_s ← w_s − η_s g_s,i
        w_c,i ← w_c,i − η_c J_iᵀ g_i
        w_c,π(k+1) ← w_c,π(k)
    """

    shares: ClassVar[bool] = True
    merges_its_way: ClassVar[bool] = True
    joint: ClassVar[bool] = False

    def cohorts(self, clients: tuple[int, ...], rng: np.random.Generator) -> list[tuple[int, ...]]:
        """Let every client train alone."""
        return [(client,) for client in rng.permutation(clients).tolist()]

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one step of both segments on the client's batch."""
        return Downlink(server.learn(uplink, context, context.server_rate))
