"""The charts of a report, about as wide as a phone, so that their text stays readable there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sglr.report.palette import GRID, INK, MUTED, SURFACE, TRAINING, VALIDATION, Colour, colour, dashes
from sglr.report.score_style import OVER_CLIENTS, ScoreStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Records = Sequence[Mapping[str, Any]]
MARKED = 12  # so few epochs are shown as points as well
FEW = 4  # bands of more curves are fainter, so that they do not hide one another


@dataclass(frozen=True)
class Curve:
    """A measurement over epochs, or over another quantity.

    Parameters
    ----------
    label
        What it is.
    epochs, values
        Where it was measured, and what was found.
    spread
        Half the width of its band at every epoch, or empty.
    """

    label: str
    epochs: tuple[float, ...]
    values: tuple[float, ...]
    spread: tuple[float, ...] = ()


def curve(label: str, history: Records, key: str, spread: str | None = None) -> Curve:
    """Take a measurement out of a run's records; epochs without it, or where it is no number, are left out."""
    rows = [row for row in history if math.isfinite(row.get(key, math.nan))]
    widths = tuple(float(row.get(spread, 0.0)) for row in rows) if spread is not None else ()
    return Curve(label, tuple(int(row["epoch"]) for row in rows), tuple(float(row[key]) for row in rows), widths)


def score_chart(history: Records, best_epoch: int | None, score: ScoreStyle) -> Figure:
    """Draw a score over epochs, in training and validation, with the spread over clients and the best epoch marked."""
    figure, axes = blank_chart()
    draw_score(axes, history, best_epoch, score)
    return figure


def draw_score(axes: Axes, history: Records, best_epoch: int | None, score: ScoreStyle) -> None:
    """Draw what `score_chart` shows into axes."""
    validation = curve("validation", history, score.validation, f"{score.validation}{OVER_CLIENTS}")
    draw_curves(axes, [validation, curve("training", history, score.training)], (VALIDATION, TRAINING))
    show_score(axes, score)
    if best_epoch in validation.epochs:
        value = validation.values[validation.epochs.index(best_epoch)]
        _mark_best(axes, best_epoch, value, score.write(value))
    add_legend(axes)


def loss_chart(history: Records) -> Figure:
    """Draw training and validation loss over epochs."""
    figure, axes = blank_chart()
    draw_loss(axes, history)
    return figure


def draw_loss(axes: Axes, history: Records) -> None:
    """Draw what `loss_chart` shows into axes."""
    curves = [curve("validation", history, "validation_loss"), curve("training", history, "loss")]
    draw_curves(axes, curves, (VALIDATION, TRAINING))
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    add_legend(axes)


def blank_chart(width: float = 4.1, height: float = 2.75) -> tuple[Figure, Axes]:
    """Return a figure of so many inches with empty axes over epochs: faint lines across, no frame."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, blank_axes(figure.add_subplot())


def blank_axes(axes: Axes) -> Axes:
    """Make axes over epochs of those given: faint lines across, no frame."""
    from matplotlib.ticker import MaxNLocator

    make_plain(axes)
    axes.set_xlabel("epoch", color=MUTED.light, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    return axes


def make_plain(axes: Axes) -> None:
    """Leave axes no frame but the line below, and faint lines across."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED.light)
    axes.grid(axis="y", color=GRID.light, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, colors=MUTED.light, pad=5)


def draw_curves(axes: Axes, curves: Sequence[Curve], paints: Sequence[Colour] = ()) -> None:
    """Draw each curve, its band behind it, in a line style of its own and its meaning's colour, else in its own."""
    for number, one in enumerate(curves):
        if not one.values:
            continue
        paint = (paints[number] if paints else colour(number)).light
        if one.spread:
            low = [value - half for value, half in zip(one.values, one.spread, strict=True)]
            high = [value + half for value, half in zip(one.values, one.spread, strict=True)]
            axes.fill_between(
                one.epochs, low, high, color=paint, alpha=0.16 if len(curves) <= FEW else 0.09, linewidth=0
            )
        marker = "o" if len(one.values) <= MARKED else "none"
        line = axes.plot(one.epochs, one.values, color=paint, linewidth=1.7, label=one.label, marker=marker)[0]
        line.set_markersize(4)
        if dashes(number):
            line.set_linestyle((0, dashes(number)))
    _frame_epochs(axes, curves)


def show_score(axes: Axes, score: ScoreStyle) -> None:
    """Label the scores up the side: shares (0-1) in percent, others with their unit."""
    from matplotlib.ticker import FuncFormatter

    low, high = axes.get_ylim()
    low -= (high - low) * 0.12  # with room for a remark at the bottom
    if score.is_share:
        low, high = max(low, -0.02), min(high, 1.02)
    axes.set_ylim(low, high)
    unit = f" {score.shown_unit}" if score.shown_unit else ""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * score.scale:.4g}{unit}"))


def add_legend(axes: Axes, columns: int = 4) -> None:
    """Say above the chart which line is which."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=INK.light,
        borderaxespad=0.3,
        handlelength=2.6,
        borderpad=0,
    )


def _frame_epochs(axes: Axes, curves: Sequence[Curve]) -> None:
    epochs = [epoch for one in curves for epoch in one.epochs]
    if epochs:
        margin = max((max(epochs) - min(epochs)) * 0.03, 0.3 if len(set(epochs)) == 1 else 0.05)
        axes.set_xlim(min(epochs) - margin, max(epochs) + margin)


def _mark_best(axes: Axes, epoch: float, value: float, figure: str) -> None:
    paint = VALIDATION.light
    axes.plot([epoch], [value], "o", markersize=8, color=paint, markeredgecolor=SURFACE.light, markeredgewidth=1.8)
    axes.axvline(epoch, color=paint, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    left, right = axes.get_xlim()
    late = epoch > (left + right) / 2
    axes.annotate(
        f"best: {figure} at epoch {epoch}",
        (epoch, 0),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if late else 5, 5),
        textcoords="offset points",
        ha="right" if late else "left",
        va="bottom",
        fontsize=9,
        color=INK.light,
    )
