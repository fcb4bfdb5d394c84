"""Draw the result of `when_sglr_wins.py` for docs/results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from matplotlib.figure import Figure

from record import RESULTS
from sglr.report.charts import add_legend, blank_chart
from sglr.report.palette import GRID, INK, MUTED, SERIES
from sglr.report.series_chart import series_chart
from sglr.report.svg import standalone_svg

DOCS = Path(__file__).parents[1] / "docs/results"


def differences(rows: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Points by which SGLR is above PSL with each seed, by factor and value."""
    found: dict[str, list[float]] = {}
    scores = {(r["factor"], r["value"], r["method"], r["seed"]): r["accuracy"] for r in rows}
    for (factor, value, method, seed), accuracy in scores.items():
        plain = scores.get((factor, value, "PSL", seed))
        if method == "SGLR" and factor != "resnet16, controls" and None not in (plain, accuracy):
            found.setdefault(f"{factor}: {value}", []).append(100 * (accuracy - plain))
    return found


def factor_chart(found: dict[str, list[float]]) -> Figure:
    figure, axes = blank_chart(7.2, 0.5 + 0.24 * len(found))
    axes.axvline(0, color=MUTED.light, linewidth=1)
    for place, values in enumerate(reversed(found.values())):
        axes.plot([min(values), max(values)], [place, place], color=SERIES[0].light, linewidth=1.4)
        axes.plot(values, [place] * len(values), "o", color=SERIES[0].light, markersize=3.5)
        axes.plot([fmean(values)], [place], "|", color=INK.light, markersize=11, markeredgewidth=2)
    axes.set_yticks(range(len(found)), list(reversed(found)), fontsize=8)
    axes.grid(axis="x", color=GRID.light)
    axes.set_xlabel("test accuracy of SGLR above that of PSL, points")
    return figure


def curve_chart(rows: Sequence[dict[str, Any]]) -> Figure:
    """Training and validation accuracy over epochs, at the paper's cut."""
    series = []
    for method in ("PSL", "SGLR"):
        own = [r for r in rows if (r["factor"], r["value"], r["method"]) == ("resnet16, depth", "layer2", method)]
        for what, name in (("validation", "validation"), ("train", "training")):
            curves = [dict(map(tuple, r[what])) for r in own]
            epochs = sorted(curves[0])
            values = [[100 * curve[epoch] for curve in curves] for epoch in epochs]
            spread = [stdev(one) for one in values] if len(curves) > 1 else None
            line = {"x": epochs, "y": [fmean(one) for one in values], "spread": spread}
            series.append({"label": f"{method}, {name}", **line})
    figure = series_chart({"x_title": "epoch", "y_title": "accuracy, %", "series": series}, (7.2, 3.2))
    add_legend(figure.axes[0])
    return figure


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean and spread of every cell, as Markdown."""
    cells: dict[tuple[str, str], dict[str, list[float]]] = {}
    for r in rows:
        if r["accuracy"] is not None:
            cells.setdefault((r["factor"], r["value"]), {}).setdefault(r["method"], []).append(100 * r["accuracy"])
    names = list(dict.fromkeys(r["method"] for r in rows))
    lines = [f"| factor | value | {' | '.join(names)} |", f"|---|---|{'---:|' * len(names)}"]
    for (factor, value), found in cells.items():
        lines.append(f"| {factor} | {value} | {' | '.join(_mean(found.get(name)) for name in names)} |")
    return "\n".join(lines)


def _mean(values: Sequence[float] | None) -> str:
    if not values:
        return "–"
    return f"{fmean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def main() -> None:
    rows = json.loads((RESULTS / "when-sglr-wins-cpu.json").read_text(encoding="utf-8"))["rows"]
    charts = {
        "factors": (factor_chart(differences(rows)), "SGLR against PSL in every setting"),
        "curves": (curve_chart(rows), "training and validation accuracy of PSL and SGLR"),
    }
    for name, (figure, description) in charts.items():
        path = DOCS / f"when-sglr-wins-{name}.svg"
        path.write_text(standalone_svg(figure, name, description), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
