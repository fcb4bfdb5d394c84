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

INK = "#808080"  # readable on light and on dark; in an SVG it can be replaced by currentColor
MAX_NAMES = 30  # more names than that along one axis would overlap
NUMBERED = 24  # cells of so few rows and columns have room for their number


def classes_per_client(data: ClientData, most: int | None = None) -> NDArray[np.int64]:
    """Return how many samples of every class each client has, of the first ``most``: counts ``[clients, classes]``."""
    targets = data.train.targets.numpy()
    rows = [np.bincount(targets[own.numpy()], minlength=len(data.classes)) for own in data.indices[:most]]
    return np.stack(rows).astype(np.int64)


def plot_classes_per_client(counts: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Draw the counts ``[clients, classes]`` as a heat map, one row for each client.

    Cells without samples stay empty; where there is room each cell shows its number. The background is
    transparent and the text of a grey that reads on light and dark.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    clients, columns = counts.shape
    width = min(max(0.42 * columns, 3.2), 12.0) + 1.6
    height = min(max(0.26 * clients, 1.4), 9.0) + 1.4
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    shown = np.ma.masked_equal(counts, 0)
    image = axes.imshow(shown, aspect="auto", cmap=_one_hue(), vmin=0, vmax=max(int(counts.max()), 1))
    _label(axes, clients, classes)
    if clients <= NUMBERED and columns <= NUMBERED:
        _number(axes, counts)
    bar = figure.colorbar(image, ax=axes, label="samples", fraction=0.04, pad=0.02)
    bar.locator = MaxNLocator(nbins=6, integer=True)
    bar.outline.set_visible(False)  # type: ignore[operator, unused-ignore]
    bar.ax.tick_params(colors=INK)
    bar.ax.yaxis.label.set_color(INK)
    return figure


def _label(axes: Axes, clients: int, classes: Sequence[str]) -> None:
    axes.set_xlabel("class", color=INK)
    axes.set_ylabel("client", color=INK)
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_color(INK)
    rows = _spaced(clients)
    axes.set_yticks(rows, [str(row) for row in rows])
    names = _spaced(len(classes))
    long = max(len(classes[name]) for name in names) > 3
    axes.set_xticks(
        names,
        [_short(classes[name]) for name in names],
        rotation=45 if long else 0,
        ha="right" if long else "center",
        rotation_mode="anchor" if long else "default",
    )


def _number(axes: Axes, counts: NDArray[np.int64]) -> None:
    dark = counts > counts.max() / 2
    for (client, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if dark[client, column] else INK
            axes.text(column, client, str(count), ha="center", va="center", color=colour, fontsize=7)


def _one_hue() -> Colormap:
    """Return a blue that fades into the page, light or dark, as counts fall."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("samples", [(0.0, 0.4, 0.7, 0.08), (0.0, 0.4, 0.7, 1.0)])


def _spaced(count: int) -> list[int]:
    """Return at most MAX_NAMES positions, evenly spaced by a round step."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, count) if count / step <= MAX_NAMES)
    return list(range(0, count, step))


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"
