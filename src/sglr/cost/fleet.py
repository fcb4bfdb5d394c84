"""How fast clients and server compute, and what link each client has: named devices and links, and those of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError, unknown
from sglr.cost.units import read_flops_rate, read_rate, read_time

Figures = NDArray[np.float64]

DEVICES: Mapping[str, float] = MappingProxyType(
    {
        "phone": 10e9,
        "pi": 30e9,
        "laptop": 100e9,
        "jetson": 384e9,
        "workstation": 5e12,
        "server": 20e12,
    }
)
"""Operations per second that a device reaches in training. ``pi``, ``jetson`` and ``server`` are those of the energy
profiles (`sglr.cost.profiles`); the others are round figures."""


@dataclass(frozen=True)
class Link:
    """A client's link to the server.

    Parameters
    ----------
    up, down
        Bytes per second.
    rtt
        Seconds of a round trip of an empty message; each way takes half of it.

    Raises
    ------
    UsageError
        If a rate is not positive, or the time is negative.
    """

    up: float
    down: float
    rtt: float

    def __post_init__(self) -> None:
        for name in ("up", "down"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise UsageError(name, value, "is not above zero", "give a positive rate")
        if not (isfinite(self.rtt) and self.rtt >= 0):
            raise UsageError("rtt", self.rtt, "is below zero", "give the seconds of a round trip")


def _symmetric(mbps: float, rtt: float) -> Link:
    return Link(mbps * 1e6 / 8, mbps * 1e6 / 8, rtt)


LINKS: Mapping[str, Link] = MappingProxyType(
    {
        "4g": Link(6e6 / 8, 13e6 / 8, 0.07),
        "5g": Link(50e6 / 8, 200e6 / 8, 0.03),
        "wan": _symmetric(20, 0.1),
        "wifi": _symmetric(50, 0.01),
        "fibre": _symmetric(500, 0.02),
        "lan": _symmetric(1000, 0.001),
    }
)
"""Links by name. ``4g`` has the medians of Huang et al., MobiSys 2012; ``wan`` is that of the benchmarks; the others
are round figures."""


@dataclass(frozen=True)
class Fleet:
    """The devices and links of a training's clients, and the server.

    Parameters
    ----------
    flops
        Operations per second of each client, ``[C]``.
    up, down
        Bytes per second of its link, ``[C]``.
    rtt
        Seconds of a round trip, ``[C]``.
    server_flops
        Operations per second of the server.
    devices
        What each client's device is called, as it was given: a name of `DEVICES`, or operations per second.
    """

    flops: Figures
    up: Figures
    down: Figures
    rtt: Figures
    server_flops: float
    devices: tuple[str, ...]

    @property
    def clients(self) -> int:
        """C."""
        return len(self.flops)

    def first(self) -> Fleet:
        """Return the first client's device and link, and the server."""
        one = slice(1)
        return Fleet(self.flops[one], self.up[one], self.down[one], self.rtt[one], self.server_flops, self.devices[one])


def read_device(text: str, field: str) -> float:
    """Return the operations per second of a device: a name of `DEVICES`, or a rate such as ``20GFLOPS``.

    Raises
    ------
    UsageError
        If it is neither.
    """
    name = text.strip()
    if name in DEVICES:
        return DEVICES[name]
    if _is_number(name):
        return read_flops_rate(name, field)
    known = unknown("device", name, DEVICES).remedy
    raise UsageError(field, text, "there is no such device", f"{known}; or give a rate, such as 20GFLOPS")


def read_link(text: str, field: str) -> Link:
    """Return a link: a name of `LINKS`, or its rate both ways and its round trip, such as ``20Mbps+100ms``.

    Raises
    ------
    UsageError
        If it is neither.
    """
    name = text.strip()
    if name in LINKS:
        return LINKS[name]
    if _is_number(name):
        rate, _, rtt = name.partition("+")
        each = read_rate(rate, field) * 1e6
        return Link(each, each, read_time(rtt, field) if rtt else 0.0)
    known, remedy = unknown("link", name, LINKS).remedy, "or give rate and round trip, such as 20Mbps+100ms"
    raise UsageError(field, text, "there is no such link", f"{known}; {remedy}")


def _is_number(text: str) -> bool:
    """Whether a text is meant as a figure, and not as a name such as 4g."""
    return text[:1] in tuple("0123456789+-.") and not (len(text) == 2 and text[1].isalpha())
