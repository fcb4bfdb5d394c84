"""Predicted against true values, and how far predictions are off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sglr.report import numbers
from sglr.report.charts import make_plain
from sglr.report.palette import MUTED, SERIES

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

UNEVEN = 200
"""Cells along a side of the picture of bins that are not equally wide."""

FAINTEST = 0.18
"""Opacity of a cell with the fewest samples: it shows on light and on dark."""


def residual_chart(residuals: Mapping[str, Any]) -> Figure:
    """Draw a `Residuals`: predicted against true values as a heat map, above the distribution of their differences."""
    import numpy as np
    from matplotlib.figure import Figure

    edges = np.asarray(residuals["edges"], dtype=np.float64)
    counts = np.asarray(residuals["counts"], dtype=np.float64)
    if edges.ndim != 1 or counts.shape != (len(edges) - 1, len(edges) - 1) or not (np.diff(edges) > 0).all():
        raise ValueError("the residuals of the summary have not one count for each pair of ascending bins")
    figure = Figure(figsize=(4.1, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[3, 1])
    unit = f", {residuals['unit']}" if residuals.get("unit") else ""
    _draw_heat(above, edges, counts, unit)
    _draw_differences(below, edges, counts, unit)
    return figure


def _draw_heat(axes: Axes, edges: NDArray[np.float64], counts: NDArray[np.float64], unit: str) -> None:
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    make_plain(axes)
    low, high = float(edges[0]), float(edges[-1])
    axes.plot([low, high], [low, high], color=MUTED.light, linewidth=0.9, linestyle=(0, (3, 3)), zorder=3)
    axes.imshow(
        _picture(edges, counts).T,
        origin="lower",
        extent=(low, high, low, high),
        aspect="auto",
        interpolation="none",
        cmap=LinearSegmentedColormap.from_list("cells", _fading(), N=64),
        norm=PowerNorm(0.5, vmin=0.0, vmax=max(1.0, float(counts.max()))),  # few samples are seen beside many
        zorder=2,
    )
    axes.set_xlabel(f"true{unit}", color=MUTED.light, fontsize=9)
    axes.set_ylabel(f"predicted{unit}", color=MUTED.light, fontsize=9)
    _name_values(axes, up=True)


def _picture(edges: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cells of equally wide bins, None where nothing is; uneven bins become several cells each."""
    import numpy as np

    widths = np.diff(edges)
    if not np.allclose(widths, widths.mean(), rtol=1e-3):
        centres = edges[0] + (np.arange(UNEVEN) + 0.5) * (edges[-1] - edges[0]) / UNEVEN
        place = np.searchsorted(edges, centres) - 1
        counts = counts[np.ix_(place, place)]
    return np.where(counts > 0, counts, np.nan)


def _fading() -> list[tuple[float, float, float, float]]:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb("#1f78c1")  # between the series' first colours on light and on dark
    return [(red, green, blue, FAINTEST), (red, green, blue, 1.0)]


def _draw_differences(axes: Axes, edges: NDArray[np.float64], counts: NDArray[np.float64], unit: str) -> None:
    """Draw a bar for each difference of bins: how many samples are predicted that much too low or too high."""
    import numpy as np

    make_plain(axes)
    bins = len(counts)
    width = float(edges[-1] - edges[0]) / bins
    totals = np.array([np.trace(counts, offset=offset) for offset in range(1 - bins, bins)])
    found = np.flatnonzero(totals)
    first, last = (int(found[0]), int(found[-1])) if len(found) else (bins - 1, bins - 1)
    places = (np.arange(first, last + 1) - (bins - 1)) * width
    axes.bar(places, totals[first : last + 1], width=width * 0.86, color=SERIES[0].light)
    axes.axvline(0.0, color=MUTED.light, linewidth=0.9, linestyle=(0, (3, 3)))
    reach = max(abs(float(places[0])), abs(float(places[-1]))) + width
    axes.set_xlim(-reach, reach)
    axes.set_yticks([])
    axes.set_xlabel(f"predicted − true{unit}", color=MUTED.light, fontsize=9)
    _name_values(axes, up=False)


def _name_values(axes: Axes, *, up: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for axis in (axes.xaxis, axes.yaxis) if up else (axes.xaxis,):
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: numbers.short(value)))
