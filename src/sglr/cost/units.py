"""Rates and times as people write them (100Mbps, 12.5MB/s, 1e6 bps, 5 TFLOPS, 50ms)."""

from __future__ import annotations

import math
import re

from sglr.core.errors import UsageError

_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}
_RATE = re.compile(r"(?P<prefix>[kKmMgGtT]?)(?P<unit>b|bit|bits|B|byte|bytes)(ps|/s)?")
_TIME = re.compile(r"(?P<prefix>[mu]?)s")
_SECONDS = {"": 1.0, "m": 1e-3, "u": 1e-6}
_FLOPS = re.compile(r"(?P<prefix>[kmgtp]?)flop(s|ps|/s|s/s)", re.IGNORECASE)


def read_rate(text: str, field: str = "rate") -> float:
    """Return a communication rate in MB/s, where 1 MB is 10⁶ bytes.

    A small b is a bit and a large B a byte, as in ``100Mbps``, ``1 Gbit/s`` and ``12.5MB/s``.

    Raises
    ------
    UsageError
        If it is no positive number with a unit.
    """
    remedy = "write it like 100Mbps, 1Gbit/s or 12.5MB/s"
    number, prefix, match = _positive(text, _RATE, "rate", field, remedy)
    bits = 8 if match["unit"] in ("B", "byte", "bytes") else 1
    return number * prefix * bits / 8e6


def read_flops_rate(text: str, field: str = "flops_rate") -> float:
    """Return operations per second of ``5TFLOPS``, ``5 TFLOP/s`` or ``1e9 flops``.

    Raises
    ------
    UsageError
        If it is no positive number with a unit.
    """
    number, prefix, _ = _positive(text, _FLOPS, "computing rate", field, "write it like 500GFLOPS or 2TFLOP/s")
    return number * prefix


def read_time(text: str, field: str) -> float:
    """Return the seconds of ``50ms`` or ``0.2s``; 0 needs no unit.

    Raises
    ------
    UsageError
        If it is no number of seconds, 0 or more, with a unit.
    """
    if text.strip() == "0":
        return 0.0
    remedy = "write it like 50ms or 0.2s"
    number, _, match = _parse(text, _TIME, "time", field, remedy)
    if number < 0:
        raise UsageError(field, text, "is below zero", remedy)
    return number * _SECONDS[match["prefix"].lower()]


_Parsed = tuple[float, float, re.Match[str]]


def _positive(text: str, pattern: re.Pattern[str], what: str, field: str, remedy: str) -> _Parsed:
    number, prefix, match = _parse(text, pattern, what, field, remedy)
    if not number > 0:
        raise UsageError(field, text, "is not above zero", remedy)
    return number, prefix, match


def _parse(text: str, pattern: re.Pattern[str], what: str, field: str, remedy: str) -> _Parsed:
    parts = re.fullmatch(r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(.*?)\s*", text)
    try:
        number = float(parts[1]) if parts else math.nan
    except ValueError:
        number = math.nan
    if parts is None or math.isnan(number):
        raise UsageError(field, text, "does not begin with a number", remedy)
    match = pattern.fullmatch(parts[2])
    if match is None:
        problem = f"{parts[2]!r} is not a unit of a {what}" if parts[2] else "has no unit"
        raise UsageError(field, text, problem, remedy)
    if not math.isfinite(number):
        raise UsageError(field, text, "is no finite number", remedy)
    return number, _PREFIXES[match["prefix"].lower()], match
