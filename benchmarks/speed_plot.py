"""The charts of docs/results/speed.md, for light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from sglr.report.charts import make_plain
from sglr.report.palette import GRID, INK, MUTED, SERIES
from sglr.report.svg import standalone_svg
from speed_goals import STATES, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAINTS = {"sglr": SERIES[0], "flower": SERIES[1]}
NAMES = {"sglr": "sglr", "flower": "Flower"}
KINDS = {"simulation": "simulation", "deployed": "processes over loopback"}


def flower_chart(found: Result) -> str:
    """Draw the seconds of a round in sglr and Flower, in quiet and beside a busy process."""
    cases = {kind: found[kind] for kind in KINDS if kind in found}
    rows = [2 * len(each) for each in cases.values()]
    figure = Figure(figsize=(7.6, 0.9 + 0.44 * sum(rows) + 0.5 * len(rows)), layout="constrained")
    panels = figure.subplots(len(cases), 1, squeeze=False, height_ratios=rows).ravel()
    for axes, (kind, each) in zip(panels, cases.items(), strict=True):
        _rounds(axes, each)
        axes.set_title(KINDS[kind], loc="left", fontsize=9, color=INK.light)
    panels[-1].set_xlabel("seconds of a round", fontsize=9, color=MUTED.light)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False, fontsize=9, labelcolor=INK.light)
    return standalone_svg(figure, "speed-flower", "seconds of a round of FedAvg in sglr and in Flower")


def _rounds(axes: Axes, cases: Mapping[str, Mapping[str, Any]]) -> None:
    names = [(case, state) for case in cases for state in STATES]
    _across(axes, [f"{case}, {STATES[state]}" for case, state in names])
    for number, (contender, paint) in enumerate(PAINTS.items()):
        seconds = [cases[case][state][contender]["round_s"] for case, state in names]
        places = [place + (number - 0.5) * 0.36 for place in range(len(names))]
        axes.barh(places, seconds, 0.32, color=paint.light, label=NAMES[contender])
        for place, value in zip(places, seconds, strict=True):
            axes.annotate(
                f"{value:.2f}",
                (value, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=MUTED.light,
            )
    axes.margins(x=0.09)


def neighbour_chart(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw the steps of all cores against those of one thread, by how long threads spin."""
    figure = Figure(figsize=(7.6, 3.3), layout="constrained")
    panels = figure.subplots(1, len(models), sharey=True, sharex=True, squeeze=False).ravel()
    for axes, (model, rates) in zip(panels, models.items(), strict=True):
        names = [name for name in rates if name != "one thread"]
        _across(axes, [name.removeprefix("all cores, ") for name in names])
        axes.axvline(1, color=MUTED.light, linewidth=1)
        for state, mark, paint in (("quiet", "o", SERIES[0]), ("one neighbour", "s", SERIES[1])):
            values = [rates[name][state]["to_one_thread"] for name in names]
            axes.plot(values, range(len(names)), mark, color=paint.light, markersize=6, label=STATES[state])
        axes.set_title(model, loc="left", fontsize=9, color=INK.light)
        axes.set_xlim(left=0)
        axes.set_xlabel("steps, against one thread", fontsize=9, color=MUTED.light)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False, fontsize=9, labelcolor=INK.light)
    return standalone_svg(
        figure, "speed-neighbour", "steps of a training on all cores against one thread, beside a busy process"
    )


def _across(axes: Axes, names: Sequence[str]) -> None:
    make_plain(axes)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=GRID.light, linewidth=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=8.5, color=INK.light)
    axes.set_ylim(len(names) - 0.5, -0.5)
