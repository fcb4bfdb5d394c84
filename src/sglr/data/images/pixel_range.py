"""Which pixel values become -1 and 1: one range for all pictures of a data set, stated or measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError

OUTER = 0.1
"""Percentage of the pixel values at either end that may be outliers."""

NARROW = 0.1
"""If nearly all pixel values lie within this fraction of the range, the range is probably not intended."""

MANY_CLIPPED, MANY_CONSTANT = 0.01, 0.1
"""Fraction of pixel values outside the range, or of pictures with a single value, above which a note is given."""

LOOKED_AT = 1_000_000  # number of evenly spaced pixel values that are checked

PIXEL_RANGE = {
    "help": "lowest and highest pixel value, such as 0,4095; default: 0,255 for 8 bits, else measured",
    "clients": "take",
    "since": "0.2.0",
}
"""What is known of the parameter ``pixel_range`` of a data set of pictures."""

EXAMPLE = "give the lowest and the highest, such as --pixel-range 0,4095"


class PixelRange(NamedTuple):
    """The pixel values that become -1 and 1; values outside are clipped."""

    low: float
    high: float
    measured: bool = False

    def __str__(self) -> str:
        return f"{number(self.low)} to {number(self.high)}"


EIGHT_BITS = PixelRange(0.0, 255.0)


def number(value: float) -> str:
    """Format a pixel value."""
    return f"{value:.7g}"


def stated_range(values: Sequence[float] | None) -> PixelRange | None:
    """Return the range that the user gives; None if it is not given.

    Raises
    ------
    UsageError
        If it is not two numbers in ascending order.
    """
    if values is None:
        return None
    shown = ",".join(map(number, values))
    if len(values) != 2 or not all(map(math.isfinite, values)):
        raise UsageError("pixel_range", shown, "is not two numbers", EXAMPLE)
    low, high = map(float, values)
    if low >= high:
        raise UsageError("pixel_range", shown, "the first number must be the lower one", EXAMPLE)
    return PixelRange(low, high)


def choose_range(stated: PixelRange | None, train: NDArray[Any], kinds: Mapping[str, str], source: str) -> PixelRange:
    """Return the range of a data set: the given one; else 0 to 255 for 8-bit pictures, or the measured one.

    Parameters
    ----------
    stated
        The range that the user gives.
    train
        The stored pixel values of the training pictures: ``[N, height, width, channels]``.
    kinds
        The kinds of pixel values in all parts, each with the name of a picture.
    source
        Where the pictures come from, for messages.

    Raises
    ------
    UsageError
        If pixel values are of several kinds and no range is given, the range does not fit the pictures, or all pixel
        values of the training pictures are the same.
    """
    eight_bits = kinds.keys() <= {"8 bits"}
    if stated is None and len(kinds) > 1:
        (kind, name), (other_kind, other) = list(kinds.items())[:2]
        problem = f"{name} in {source} has pixel values of {kind}, {other} of {other_kind}"
        raise UsageError("pixel_range", "none", problem, "convert them to one kind, or give the range of all")
    if stated is not None and eight_bits and not 0 <= stated.low < stated.high <= 255:
        problem = f"the pictures in {source} have 8 bits, so their values are 0 to 255"
        raise UsageError(
            "pixel_range", f"{stated.low:g},{stated.high:g}", problem, "give a range within 0 to 255, or none"
        )
    low, high = float(train.min()), float(train.max())
    found = stated or (EIGHT_BITS if eight_bits else PixelRange(low, high, measured=True))
    if min(high, found.high) <= max(low, found.low):
        raise _constant(stated, low, high, source)
    return found


def _constant(stated: PixelRange | None, low: float, high: float, source: str) -> UsageError:
    if low == high:
        problem = f"every pixel of every training picture is {number(low)}, so a model can't learn from them"
        return UsageError("file", source, problem, "check how the pictures were saved")
    assert stated is not None, "a measured range is not empty"
    problem = f"the training pictures have values from {number(low)} to {number(high)}, all outside this range"
    return UsageError(
        "pixel_range", f"{number(stated.low)},{number(stated.high)}", problem, "give the range of these values"
    )


def range_notes(
    found: PixelRange, train: NDArray[Any], names: Sequence[str], constant: NDArray[np.int64] | None = None
) -> list[str]:
    """Return what the user should know about the range of the training pictures, a sentence each.

    Parameters
    ----------
    found
        The range.
    train
        Their stored pixel values: ``[N, height, width, channels]``.
    names
        The names of these pictures.
    constant
        Which of those named have only one value, where ``train`` are only some of them.
    """
    notes = []
    if found.measured:
        notes.append(
            f"pixel values {found}, measured over the training pictures, become -1 to 1; "
            "if the true range differs, give --pixel-range LOW,HIGH"
        )
    notes += _spread_notes(found, train)
    if constant is None:
        values = train.reshape(len(train), -1)
        constant = np.flatnonzero(values.min(axis=1) == values.max(axis=1))
    if len(constant) > MANY_CONSTANT * len(names):
        notes.append(
            f"{len(constant)} of {len(names)} training pictures have only one pixel value, such as {names[constant[0]]}"
        )
    return notes


def _spread_notes(found: PixelRange, train: NDArray[Any]) -> list[str]:
    # An odd step avoids hitting the same columns and channels every time.
    values = train.reshape(-1)[:: train.size // LOOKED_AT | 1]
    clipped = float(((values < found.low) | (values > found.high)).mean())
    if clipped > MANY_CLIPPED:
        return [f"{clipped:.0%} of the pixel values are outside {found} and are clipped"]
    low, high = np.percentile(values, [OUTER, 100 - OUTER])
    if 0 < high - low < NARROW * (found.high - found.low):
        nearly_all = f"{100 - 2 * OUTER:g} % of the pixel values lie from {number(low)} to {number(high)}"
        remedy = f"give --pixel-range {number(low)},{number(high)} if the rest are outliers"
        return [f"{nearly_all}, a small part of the range {found}; {remedy}"]
    return []
