"""Energy of an operation and of a byte, by kind of device: published figures, and the user's own.

A profile is a model, not a measurement: it says what a class of devices would use. Power at the socket depends on the
model, the batch, the clock and the radio cell; expect a factor of two or three either way, and trust ratios between
methods more than joules.
"""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass, fields
from pathlib import Path

from sglr.core.errors import UsageError, unknown
from sglr.storage.toml_files import read_toml_file

USED_SHARE = 0.3
"""Share of a GPU's peak that training reaches: 21 to 46 % for large models (Chowdhery et al. 2022, arXiv 2204.02311,
Table 3). Small models reach less, and draw less power meanwhile."""


@dataclass(frozen=True)
class DeviceProfile:
    """Energy of operations and bytes.

    Parameters
    ----------
    name
        Its name.
    client_joules_per_flop, server_joules_per_flop
        Energy of one floating-point operation in training.
    joules_per_byte_up, joules_per_byte_down
        Energy of one byte from client to server and back.
    source
        Where the figures are from.

    Raises
    ------
    UsageError
        If a figure is not a positive number.
    """

    name: str
    client_joules_per_flop: float
    server_joules_per_flop: float
    joules_per_byte_up: float
    joules_per_byte_down: float
    source: str

    def __post_init__(self) -> None:
        for key in FIGURES:
            value = getattr(self, key)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not (math.isfinite(value) and value > 0):
                raise UsageError(
                    key, value, f"is not an energy (profile {self.name})", "give a positive number of joules"
                )


FIGURES = tuple(field.name for field in fields(DeviceProfile) if field.name not in ("name", "source"))


def _at_peak(watts: float, flops_per_second: float) -> float:
    """Return J/FLOP of a chip at its rated power that reaches `USED_SHARE` of its peak."""
    return watts / flops_per_second / USED_SHARE


def _radio(milliwatts_per_mbps: float, base_milliwatts: float, mbps: float) -> float:
    """Return J/byte of a radio whose power is alpha x rate + beta (Huang et al. 2012); mW per Mbit/s are nJ per bit."""
    return (milliwatts_per_mbps + base_milliwatts / mbps) * 8e-9


_ORIN = _at_peak(15, 1.28e12)
_PI = 11 / 30.249e9
_H100 = _at_peak(700, 67e12)
_WIFI = (_radio(283.17, 132.86, 10), _radio(137.01, 132.86, 10))
_WIRED = 2.7e-6 * 8

_ORIN_SOURCE = "client: NVIDIA Jetson Orin Nano 8 GB (data sheet: 1,024 CUDA cores at 625 MHz, 15 W) at 30 % of peak"
_PI_SOURCE = "client: Raspberry Pi 5, 30.2 GFLOP/s in HPL (double precision) at 11 W (geerlingguy/top500-benchmark)"
_H100_SOURCE = "NVIDIA H100 SXM (data sheet: 67 TFLOP/s in single precision, 700 W) at 30 % of peak"
_HUANG = "Huang et al., MobiSys 2012, Table 4"
_WIFI_SOURCE = f"Wi-Fi at 10 Mbit/s, the client's radio only: {_HUANG}"

PROFILES = {
    profile.name: profile
    for profile in (
        DeviceProfile(
            "edge-wifi",
            _ORIN,
            _H100,
            *_WIFI,
            f"{_ORIN_SOURCE}; server: {_H100_SOURCE}; {_WIFI_SOURCE}",
        ),
        DeviceProfile(
            "edge-lte",
            _ORIN,
            _H100,
            _radio(438.39, 1288.04, 6),
            _radio(51.97, 1288.04, 13),
            f"{_ORIN_SOURCE}; server: {_H100_SOURCE}; LTE at 6 Mbit/s up and 13 down (the medians found there), the "
            f"client's radio only: {_HUANG}",
        ),
        DeviceProfile(
            "pi-wifi",
            _PI,
            _H100,
            *_WIFI,
            f"{_PI_SOURCE}; server: {_H100_SOURCE}; {_WIFI_SOURCE}",
        ),
        DeviceProfile(
            "silo-wired",
            _H100,
            _H100,
            _WIRED,
            _WIRED,
            f"clients and server: {_H100_SOURCE}; transport through the public Internet, 2.7 uJ/bit with its routers: "
            "Baliga et al., Proc. IEEE 99(1), 2011",
        ),
    )
}
"""Profiles by name."""


def load_profile(name_or_path: str) -> DeviceProfile:
    """Return a built-in profile by name, or the user's own from a TOML file.

    Parameters
    ----------
    name_or_path
        A name of `PROFILES`, or the path of a file that ends in ``.toml`` and has the keys of `DeviceProfile`; ``name``
        and ``source`` may be left out.

    Raises
    ------
    UsageError
        If there is no such profile or file, a key is missing or unknown, or a figure is not a positive number.
    """
    if not name_or_path.endswith(".toml"):
        if name_or_path not in PROFILES:
            error = unknown("energy_profile", name_or_path, PROFILES)
            raise UsageError(error.field, error.value, error.problem, f"{error.remedy}, or the path of a TOML file")
        return PROFILES[name_or_path]
    path = Path(name_or_path)
    given = read_toml_file(path, "energy_profile")
    if given is None:
        problem = f"cannot be read ({os.strerror(errno.ENOENT)})"
        raise UsageError("energy_profile", path, problem, "give a readable TOML file")
    for key in FIGURES:
        if key not in given:
            raise UsageError("energy_profile", path, f"has no {key}", f"give all of: {', '.join(FIGURES)}")
    known = {field.name for field in fields(DeviceProfile)}
    for key in given.keys() - known:
        raise UsageError("energy_profile", path, f"has an unknown key {key}", f"known: {', '.join(sorted(known))}")
    return DeviceProfile(**{"name": path.stem, "source": f"given in {path.name}", **given})
