"""The page and the plot of the study of time to accuracy, from its record.

python benchmarks/time_to_accuracy_page.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from record import RESULTS
from sglr.report.charts import make_plain
from sglr.report.palette import INK, MUTED, SERIES, colour, dashes
from sglr.report.svg import standalone_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]

PAGE = Path(__file__).parent.parent / "docs/results/time-to-accuracy.md"
PLOT = PAGE.with_suffix(".svg")
END = "<!-- behind this line nothing is written by a program -->"
DEVICES, NAMES = ("phone", "laptop"), {"small": "the small CNN, 0.4 MB", "large": "50 MB, nearly all at the server"}
PANELS = (("small", "phone"), ("small", "laptop"), ("large", "laptop"))

TOP = """# Time to accuracy, beside FedAvg

How long until {target} % of test accuracy over 100 ms and 20 Mbit/s: the best of some settings of split methods
beside the best of FedAvg's. Fashion-MNIST, three clients of 640 samples, batches of 32; [modelled time](../time.md) of
phones (10 GFLOP/s) and of laptops (100 GFLOP/s), with a server of 20 TFLOP/s.

**In short**

{short}

![Accuracy against modelled seconds](time-to-accuracy.svg)

*Ahead* is `--pipelining`, *weights* `--weight-compression`. Seconds until the first epoch (of FedAvg: round) that ends
with the score, mean ± standard deviation over seeds {seeds}, scored on 1,000 test images.
"""

HOW = """
## What was tried

With validation data, on seeds {tuning} (the large model on the first alone); seconds are means, – where a seed did not
get there. The fastest two of FedAvg and of split methods on each device (one for the large model) train again, above,
with three other seeds.
"""

BOTTOM = """
```sh
{command}
python benchmarks/time_to_accuracy_page.py
```

{processor}, torch {torch}, {date}; it took {minutes:.0f} minutes of a processor. All figures, with every curve, are in
`benchmarks/results/time-to-accuracy-cpu.json`. The model of 50 MB is `benchmarks/time_to_accuracy_model.py`: in that
folder, `--model time_to_accuracy_model:wide`.

"""


def label(settings: Row) -> str:
    """Return settings in a few words."""
    given = dict(settings)
    parts = [f"`{given.pop('method')}`"]
    for name, write in (
        ("local_epochs", "{} local epochs"),
        ("h", "h = {}"),
        ("compression", "`{}`"),
        ("pipelining", "{} ahead"),
        ("cut", "cut `{}`"),
        ("weight_compression", "weights `{}`"),
        ("lr", "rate {:g}"),
    ):
        if name in given:
            parts.append(write.format(given.pop(name)))
    assert not given, "all settings have words"
    return ", ".join(parts).replace("1 local epochs", "1 local epoch") + (", as it is" if len(parts) == 1 else "")


def groups(rows: Sequence[Row]) -> list[tuple[Row, list[Row]]]:
    """Return rows by settings, in their order."""
    found: list[tuple[Row, list[Row]]] = []
    for row in rows:
        own = next((group for settings, group in found if settings == row["settings"]), None)
        if own is None:
            found.append((row["settings"], [row]))
        else:
            own.append(row)
    return found


def seconds(rows: Sequence[Row], device: str) -> tuple[float, float] | None:
    """Return mean and standard deviation of the seconds to the score; None where a seed did not reach it."""
    found = [row["seconds"][device] for row in rows]
    return None if None in found else (fmean(found), pstdev(found))


def written(time: tuple[float, float] | None, *, spread: bool = True) -> str:
    """Return seconds as people read them."""
    if time is None:
        return "–"
    digits = 2 if time[0] < 10 else 0
    return f"{time[0]:.{digits}f} ± {time[1]:.{digits}f}" if spread else f"{time[0]:.{digits}f}"


def best(rows: Sequence[Row], device: str, *, whole: bool) -> tuple[float, str]:
    """Return the fewest mean seconds of FedAvg, or of a split method, and whose they are."""
    times = [
        (time[0], label(settings))
        for settings, group in groups(rows)
        if (settings["method"] == "fl") == whole and (time := seconds(group, device)) is not None
    ]
    return min(times)


def verdict(models: Mapping[str, Any], model: str, device: str) -> str:
    """Say who is faster, and by how much."""
    (fl, fl_is), (split, split_is) = (best(models[model]["final"], device, whole=whole) for whole in (True, False))
    ratio = split / fl
    who = "**FedAvg wins**" if ratio > 1 else "Split learning wins"
    times = f"{split_is} takes {written((split, 0), spread=False)} s, {fl_is} {written((fl, 0), spread=False)} s"
    return f"- {NAMES[model]}, {device}s: {who}. {times}: split learning needs {ratio:.2g} times FedAvg's time."


def table(rows: Sequence[Row], *, spread: bool) -> list[str]:
    """Return a table of settings and seconds."""
    lines = ["| | phones, s | laptops, s |", "|---|---:|---:|"]
    for settings, group in groups(rows):
        cells = (written(seconds(group, device), spread=spread) for device in DEVICES)
        lines.append(f"| {label(settings)} | {' | '.join(cells)} |")
    return lines


def page(result: Mapping[str, Any]) -> str:
    """Return the page's text."""
    models = result["models"]
    short = "\n".join(verdict(models, model, device) for model in NAMES for device in DEVICES)
    seeds = sorted({row["seed"] for row in models["small"]["final"]})
    every = [row for model in models.values() for part in model.values() for row in part]
    minutes = sum(row["processor_seconds"] for row in every) / 60
    words = {"target": round(100 * result["target"]), "short": short, "seeds": ", ".join(map(str, seeds))}
    lines = [TOP.format(**words)]
    for model, name in NAMES.items():
        lines += [f"\n## With {name}\n", *table(models[model]["final"], spread=True)]
    lines.append(HOW.format(tuning=", ".join(map(str, result["tuning_seeds"]))))
    for model, name in NAMES.items():
        lines += [f"{name[0].upper()}{name[1:]}:\n", *table(models[model]["tuning"], spread=False), ""]
    return "\n".join(lines) + BOTTOM.format(command=result["command"], minutes=minutes, **result["machine"])


def draw(models: Mapping[str, Any], target: float) -> Figure:
    """Draw accuracy against modelled seconds, the mean over seeds, for each model and device."""
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    for axes, (model, device) in zip(figure.subplots(1, len(PANELS), sharey=True), PANELS, strict=True):
        make_plain(axes)
        axes.set_title(f"{NAMES[model]}, {device}s", loc="left", fontsize=8, color=INK.light)
        axes.axhline(100 * target, color=MUTED.light, linewidth=0.8, linestyle=":")
        for number, (settings, group) in enumerate(groups(models[model]["final"])):
            _draw_one(axes, settings, group, device, number)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("modelled seconds", fontsize=9, color=MUTED.light)
        under = {"loc": "upper left", "bbox_to_anchor": (0, -0.18), "frameon": False, "fontsize": 7}
        axes.legend(**under, labelcolor=INK.light)
    figure.axes[0].set_ylabel("test accuracy, %", fontsize=9, color=MUTED.light)
    return figure


def _draw_one(axes: Axes, settings: Row, group: Sequence[Row], device: str, number: int) -> None:
    epochs = min(len(row["curve"]) for row in group)
    times = [fmean(row["curve"][epoch][device] for row in group) for epoch in range(epochs)]
    scores = [100 * fmean(row["curve"][epoch]["accuracy"] for row in group) for epoch in range(epochs)]
    name, (own, other) = label(settings).replace("`", ""), (colour(number).light, dashes(number // len(SERIES)))
    (line,) = axes.plot(times, scores, color=own, linewidth=1.5, marker="o", markersize=3, label=name)
    if other:
        line.set_dashes(other)


def main() -> None:
    """Write the page and the plot."""
    result = json.loads((RESULTS / "time-to-accuracy-cpu.json").read_text(encoding="utf-8"))
    rest = PAGE.read_text(encoding="utf-8").partition(END)[2] if PAGE.exists() else "\n"
    PAGE.write_text(page(result) + END + rest, encoding="utf-8")
    drawn = draw(result["models"], result["target"])
    PLOT.write_text(standalone_svg(drawn, "time-to-accuracy", "test accuracy against modelled seconds"), "utf-8")


if __name__ == "__main__":
    main()
