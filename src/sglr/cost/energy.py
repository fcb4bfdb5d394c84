"""The energy that a training would take on devices of a kind: operations and bytes times a profile's joules."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.cost.profiles import DeviceProfile


@dataclass(frozen=True)
class ModelledEnergy:
    """Energy by a device profile, E = FLOPs x J/FLOP at each side + bytes x J/byte each way.

    Parameters
    ----------
    profile
        The devices.
    client_flops
        Operations of each client, ``[C]``; None where they could not be counted.
    server_flops
        Operations of the server; None likewise.
    up_bytes, down_bytes
        Bytes from clients to server and back, point to point.
    """

    profile: DeviceProfile
    client_flops: NDArray[np.float64] | None
    server_flops: float | None
    up_bytes: float
    down_bytes: float

    @property
    def communication_joules(self) -> float:
        """Energy of all messages."""
        up = self.up_bytes * self.profile.joules_per_byte_up
        return up + self.down_bytes * self.profile.joules_per_byte_down

    def summary(self) -> dict[str, Any]:
        """Return the figures as they go into ``summary.json``; None where operations could not be counted."""
        network = self.communication_joules
        profile = dataclasses.asdict(self.profile)
        if self.client_flops is None or self.server_flops is None:
            unknown = dict.fromkeys(("client_joules", "server_joules", "total_joules"))
            return {**unknown, "communication_joules": network, "profile": profile}
        clients = self.client_flops * self.profile.client_joules_per_flop
        server = self.server_flops * self.profile.server_joules_per_flop
        return {
            "client_joules": {"mean": float(clients.mean()), "max": float(clients.max())},
            "server_joules": server,
            "communication_joules": network,
            "total_joules": float(clients.sum()) + server + network,
            "profile": profile,
        }
