"""A measured figure with its interval: what every measure of leakage returns."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from torch import Tensor

NORMAL = 1.959964
"""97.5 % quantile of the standard normal distribution: two sides of a 95 % interval."""


@dataclass(frozen=True)
class Estimate:
    """A figure, its interval, and how it was estimated.

    Parameters
    ----------
    value
        The figure, in ``unit``.
    low, high
        The 95 % interval. None where the samples do not determine that end: a lower bound near its ceiling has no
        upper end.
    estimator
        How it was estimated, and where the interval comes from.
    unit
        The figure's unit, e.g. ``"nats"``.
    samples
        How many samples the figure is made of.
    """

    value: float
    low: float | None
    high: float | None
    estimator: str
    unit: str
    samples: int

    def record(self) -> dict[str, float | int | str | None]:
        """Return the estimate for JSON, where infinite figures are null."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def mean_estimate(values: Tensor, estimator: str, unit: str) -> Estimate:
    """Estimate a mean by ``values`` ``[n]``, with Student's interval, mean ± t s / √n.

    A single value has no interval: both ends are None.
    """
    from scipy.stats import t

    count, mean = len(values), float(values.double().mean())
    if count < 2:
        return Estimate(mean, None, None, estimator, unit, count)
    half = float(t.ppf(0.975, count - 1) * values.double().std() / math.sqrt(count))
    return Estimate(mean, mean - half, mean + half, f"{estimator}, Student's interval", unit, count)


def share_estimate(hits: int, count: int, estimator: str) -> Estimate:
    """Estimate a share by ``hits`` of ``count``, with Wilson's interval.

    It stays within [0, 1] and has a width at 0 and 1 also (Wilson, 1927).
    """
    share, squared = hits / count, NORMAL**2
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    half = NORMAL / (1 + squared / count) * math.sqrt(share * (1 - share) / count + squared / (4 * count**2))
    # At the very ends the interval's end is the share itself, to rounding.
    low, high = max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
    return Estimate(share, low, high, f"{estimator}, Wilson's interval", "share", count)
