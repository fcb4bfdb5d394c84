"""Draw the result of `throughput.py` for docs/results: samples per second over the number of clients."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from record import RESULTS
from sglr.report.charts import add_legend
from sglr.report.series_chart import series_chart
from sglr.report.svg import standalone_svg

DOCS = Path(__file__).parents[1] / "docs/results"
CONTENDERS = {"sglr / unsplit": "unsplit", "sglr / published loop": "loop"}


def scaling_chart(rows: list[dict[str, Any]]) -> Figure:
    """Draw how many times faster SGLR is than each contender, over the number of clients."""
    measured = [row for row in rows if "skipped" not in row]
    series = []
    for model in dict.fromkeys(row["model"] for row in measured):
        for ratio, name in CONTENDERS.items():
            own = [(row["clients"], row["ratios"][ratio]) for row in measured if row["model"] == model]
            x, y = zip(*own, strict=True)
            series.append({"label": f"{model} / {name}", "x": list(x), "y": list(y)})
    titles = {"x_title": "clients", "y_title": "samples per second, ratio"}
    figure = series_chart({**titles, "log_x": True, "log_y": True, "series": series}, (8.2, 3.8))
    add_legend(figure.axes[0])
    return figure


def table(rows: list[dict[str, Any]]) -> str:
    """Return all cells as Markdown."""
    lines = [
        "| model | clients | b | samples/s | × unsplit | × published loop | peak memory |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        if "skipped" in row:
            lines.append(f"| {row['model']} | {row['clients']:,} | | skipped: {row['skipped']} | | | |")
            continue
        ratios = " | ".join(f"{row['ratios'][ratio]:.2f}" for ratio in CONTENDERS)
        rate, peak = row["samples_per_second"]["sglr"], row["peak_bytes"] / 1e9
        lines.append(f"| {row['model']} | {row['clients']:,} | {row['batch']} | {rate:,} | {ratios} | {peak:.1f} GB |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS / "throughput-cpu.json")
    parser.add_argument("--out", type=Path, default=DOCS / "scaling.svg")
    arguments = parser.parse_args()
    rows = json.loads(arguments.results.read_text(encoding="utf-8"))["throughput"]
    description = "training speed of SGLR over the number of clients, against the unsplit model and a per-client loop"
    arguments.out.write_text(standalone_svg(scaling_chart(rows), "scaling", description), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
