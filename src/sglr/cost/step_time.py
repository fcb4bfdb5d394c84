"""The one model of time: what a step of split learning takes, from operations, bytes and links.

Client i computes F_i operations per second, its link carries U_i bytes per second up and V_i down, and a round trip
takes ρ_i; the server computes F_s. In a step it has n_i samples. It is ready for the step at r_i; then its smashed data
arrive at a_i, the server begins at B and ends at E, and the client has stepped at r'_i:

    a_i  = r_i + n_i f / F_i + ρ_i / 2 + u_i / U_i
    B    = max_i a_i
    E    = B + f_s / F_s
    r'_i = E + ρ_i / 2 + d_i / V_i + n_i b / F_i

f and b are the operations of a sample's way forward and back at the client, u_i and d_i the bytes up and down, f_s the
server's operations in the step. Weights that are merged go up when a client is ready, and down when all are there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sglr.cost.fleet import Figures, Fleet


@dataclass(frozen=True)
class SampleWork:
    """Operations of one sample: the same of all clients', or of each client's ``[C]`` where these are cut differently.

    Parameters
    ----------
    forward, backward
        At a client: in its segment, and in its tail, head or decoder.
    server_forward, server_backward
        In the server's segment; back to its weights and to the smashed data.
    """

    forward: float | Figures
    backward: float | Figures
    server_forward: float | Figures
    server_backward: float | Figures

    @property
    def server(self) -> float | Figures:
        """Of a sample that goes through the server's segment once, there and back."""
        return self.server_forward + self.server_backward


@dataclass(frozen=True)
class Speeds:
    """What each of n clients takes for a unit of everything; seconds are sums of these times amounts.

    Parameters
    ----------
    forward, backward
        Seconds per sample, ``[n]``.
    up, down
        Seconds per byte, ``[n]``.
    one_way
        Seconds of an empty message, ``[n]``.
    server
        Seconds per operation of the server.
    """

    forward: Figures
    backward: Figures
    up: Figures
    down: Figures
    one_way: Figures
    server: float

    @classmethod
    def of(cls, fleet: Fleet, work: SampleWork, clients: tuple[int, ...] | None = None) -> Speeds:
        """Return those of some clients of a fleet; by default of all."""
        rows = slice(None) if clients is None else np.array(clients, dtype=np.int64)
        flops, up, down, rtt = (each[rows] for each in (fleet.flops, fleet.up, fleet.down, fleet.rtt))
        forward, backward = (
            each[rows] if isinstance(each, np.ndarray) else each for each in (work.forward, work.backward)
        )
        return cls(forward / flops, backward / flops, 1 / up, 1 / down, rtt / 2, 1 / fleet.server_flops)


@dataclass(frozen=True)
class StepTimes:
    """When what of a step is over.

    Parameters
    ----------
    arrives
        When each client's smashed data are at the server, ``[n]``.
    begins, ends
        When the server begins, and has stepped.
    ready
        When each client has stepped, ``[n]``.
    """

    arrives: Figures
    begins: float
    ends: float
    ready: Figures


def step_times(
    speeds: Speeds, ready: Figures, samples: Figures, up: Figures, down: Figures, server_flops: float
) -> StepTimes:
    """Return the times of one step in which all n clients are waited for: the equations above.

    Parameters
    ----------
    speeds
        Of the n clients.
    ready
        r_i, ``[n]``.
    samples
        n_i, ``[n]``.
    up, down
        u_i and d_i in bytes, ``[n]``.
    server_flops
        f_s.
    """
    arrives = ready + samples * speeds.forward + speeds.one_way + up * speeds.up
    begins = float(arrives.max())
    ends = begins + server_flops * speeds.server
    return StepTimes(arrives, begins, ends, ends + speeds.one_way + down * speeds.down + samples * speeds.backward)
