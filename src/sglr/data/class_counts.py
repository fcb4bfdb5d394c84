"""Show which classes every client has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sglr.core.data import ClientData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

INK = "#808080"  # readable on light and dark backgrounds; in an SVG it can be replaced by currentColor
MAX_NAMES = 30  # more names along one axis would overlap
NUMBERED = 24  # up to this many rows and columns, each cell has room for its number


def classes_per_client(data: ClientData, most: int | None = None) -> NDArray[np.int64]:
    """Return how many samples of every class each client has, of the first ``most``: counts ``[clients, classes]``.

    Where samples don't each have one class there are no columns.
    """
    if not data.classes:
        return np.zeros((len(data.indices[:most]), 0), dtype=np.int64)
    targets = data.train.targets.numpy()
    rows = [np.bincount(targets[own.numpy()], minlength=len(data.classes)) for own in data.indices[:most]]
    return np.stack(rows).astype(np.int64)


def plot_classes_per_client(counts: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Draw the counts ``[clients, classes]`` as a heat map, one row for each client.

    Cells without samples stay empty; where there is room each cell shows its number. The background is
    transparent and the text is a grey that is readable on light and dark backgrounds.
    """
    rows = [str(client) for client in range(len(counts))]
    return plot_cells(counts, rows, classes, ("client", "class"), "samples")


def plot_cells(
    values: NDArray[np.int64] | NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    titles: tuple[str, str],
    unit: str,
) -> Figure:
    """Draw ``values`` ``[rows, columns]``, all 0 or more, as a heat map; ``titles`` name the rows and the columns."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    down, across = values.shape
    width = min(max(0.42 * across, 3.2), 12.0) + 1.6
    height = min(max(0.26 * down, 1.4), 9.0) + 1.4
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    shown = np.ma.masked_equal(values, 0)
    image = axes.imshow(shown, aspect="auto", cmap=_one_hue(), vmin=0, vmax=max(float(values.max()), 1))
    _label(axes, rows, columns, titles)
    if down <= NUMBERED and across <= NUMBERED:
        _number(axes, values)
    bar = figure.colorbar(image, ax=axes, label=unit, fraction=0.04, pad=0.02)
    bar.locator = MaxNLocator(nbins=6, integer=True)
    bar.outline.set_visible(False)  # type: ignore[operator, unused-ignore]
    bar.ax.tick_params(colors=INK)
    bar.ax.yaxis.label.set_color(INK)
    return figure


def _label(axes: Axes, down: Sequence[str], across: Sequence[str], titles: tuple[str, str]) -> None:
    axes.set_xlabel(titles[1], color=INK)
    axes.set_ylabel(titles[0], color=INK)
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_color(INK)
    rows = _spaced(len(down))
    axes.set_yticks(rows, [_short(down[row]) for row in rows])
    names = _spaced(len(across))
    long = max(len(across[name]) for name in names) > 3
    axes.set_xticks(
        names,
        [_short(across[name]) for name in names],
        rotation=45 if long else 0,
        ha="right" if long else "center",
        rotation_mode="anchor" if long else "default",
    )


def _number(axes: Axes, values: NDArray[np.int64] | NDArray[np.float64]) -> None:
    from matplotlib.colors import to_hex

    hue, most = _one_hue(), max(float(values.max()), 1)
    for (row, column), value in np.ndenumerate(values):
        if value:
            colour = text_on(to_hex(hue([value / most])[0]))
            axes.text(column, row, f"{value:g}", ha="center", va="center", color=colour, fontsize=7)


def text_on(background: str) -> str:
    """Return black or white, whichever has the higher contrast (WCAG 2) to a colour: at least 4.58."""
    shares = [int(background[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    luminance = sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


def _one_hue() -> Colormap:
    """Return opaque blues from light to dark, so that text on them looks the same on light and dark pages."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("cells", ["#d6e6f5", "#00569b"])


def _spaced(count: int) -> list[int]:
    """Return at most MAX_NAMES positions, evenly spaced by a round step."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, count) if count / step <= MAX_NAMES)
    return list(range(0, count, step))


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"
