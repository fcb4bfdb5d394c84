"""Numbers with units for people: 86.4 %, 12.3 MB, 1 min 12 s."""

from __future__ import annotations

import math
from collections.abc import Callable

NONE, MINUS = "–", "−"
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
_SMALL = ("m", "µ", "n", "p")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share (0–1) in percent; a dash where there is none."""
    return NONE if share is None or not math.isfinite(share) else f"{share * 100:.{digits}f} %"


def points(share: float | None, digits: int = 1) -> str:
    """Write a spread (0–1) as ± percentage points; nothing where there is none."""
    return "" if share is None or not math.isfinite(share) else f"± {share * 100:.{digits}f}"


def size(number: float | None) -> str:
    """Write bytes in decimal units, as networks count them: 1 MB is 10⁶ bytes."""
    if number is None or not math.isfinite(number):
        return NONE
    power = 0
    # What would be rounded up to 1000 takes the next unit.
    while number >= 999.5 and power < len(_UNITS) - 1:
        number, power = number / 1000, power + 1
    return f"{_three_digits(number) if power else round(number)} {_UNITS[power]}"


def exact_size(number: float) -> str:
    """Write bytes to five digits, for an axis whose marks are close together."""
    power = min(int(math.log10(max(1.0, abs(number))) // 3), len(_UNITS) - 1)
    return f"{plain(number / 1000**power, 5)} {_UNITS[power]}"


def operations(number: float | None) -> str:
    """Write floating-point operations: 1 GFLOP is 10⁹ of them."""
    return _with_prefix(number, "FLOP")


def joules(number: float | None) -> str:
    """Write an energy."""
    return _with_prefix(number, "J")


def duration(seconds: float | None) -> str:
    """Write a time in its two largest units."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def clock(seconds: float | None) -> str:
    """Write a time, a short one in milliseconds."""
    if seconds is None or seconds >= 0.9995 or not seconds:
        return duration(seconds)
    return f"{seconds * 1000:.3g} ms"


def count(number: float | None) -> str:
    """Write a number of things with thousands set apart, to three digits below one hundred."""
    if number is None or not math.isfinite(number):
        return NONE
    return f"{round(number):,}" if number >= 100 or number == round(number) else _three_digits(number)


def decimal(number: float | None) -> str:
    """Write a loss or another plain figure to three digits after the point."""
    return NONE if number is None or not math.isfinite(number) else f"{number:.3f}"


def plain(number: float | None, digits: int = 4) -> str:
    """Write any quantity to so many significant digits, thousands set apart, very large and small ones as a power."""
    if number is None or not math.isfinite(number):
        return NONE
    if number and not 1e-4 <= abs(number) < 1e9:
        mantissa, _, power = f"{number:.{digits - 1}e}".partition("e")
        return f"{mantissa} × 10{str(int(power)).translate(_RAISED)}".replace("-", MINUS)
    # "g" would write what is rounded up to one digit more as a power.
    text = f"{number:,.0f}" if abs(number) >= 10**digits - 0.5 else f"{number:,.{digits}g}"
    return text.replace("-", MINUS)


def short(number: float) -> str:
    """Write a number on an axis: from 10,000 on in thousands (k), millions (M) and so on."""
    power = 0
    if abs(number) >= 10_000:
        while abs(number) >= 1000 and power < len(_PREFIXES) - 1:
            number, power = number / 1000, power + 1
    return f"{plain(number)}{_PREFIXES[power]}"


def signed(number: float | None, write: Callable[[float | None], str]) -> str:
    """Write a difference with its sign; a zero, as it is written, has none."""
    if number is None or not math.isfinite(number):
        return ""
    text = write(abs(number))
    return text if text == write(0.0) else f"{MINUS if number < 0 else '+'}{text}"


def _with_prefix(number: float | None, unit: str) -> str:
    if number is None or not math.isfinite(number):
        return NONE
    power = 0
    while abs(number) >= 999.5 and power < len(_PREFIXES) - 1:
        number, power = number / 1000, power + 1
    while 0 < abs(number) < 0.9995 and power > -len(_SMALL):
        number, power = number * 1000, power - 1
    prefix = _PREFIXES[power] if power >= 0 else _SMALL[-power - 1]
    return f"{_three_digits(number) if number else 0} {prefix}{unit}"


def _three_digits(number: float) -> str:
    return f"{number:.2f}" if number < 9.995 else f"{number:.1f}" if number < 99.95 else f"{number:.0f}"
