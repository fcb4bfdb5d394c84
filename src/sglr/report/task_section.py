"""What a run's report shows of its test, as its task tells it: scores, curves, bars, the spread over clients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sglr.report import numbers
from sglr.report.client_spread import spread_chart, spread_words
from sglr.report.examples import colour_of, example_rows
from sglr.report.probability_charts import reliability_chart, roc_chart
from sglr.report.residual_chart import residual_chart
from sglr.report.score_style import ScoreStyle, headline, style, test_score
from sglr.report.svg import inline_svg

MOST = 6
"""Curves of one kind that are drawn, such as those of several outcomes."""

SHOWN = 20
"""Labels or classes up to which all are open; of more, the worst."""


def task_section(test: Mapping[str, Any], examples: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any] | None:
    """Return the cards of a test for the template; None where there is nothing to show.

    Returns
    -------
    dict or None
        ``scores`` (rows of a table), ``charts`` (title, svg, that of a wide page if it has one, note), ``bars`` (of
        labels, classes or targets), ``examples`` and ``classes`` (the key to their colours).
    """
    charts = [*_roc(test), *_reliability(test), *_residuals(test)]
    found = {
        "scores": _score_rows(test),
        "charts": [*_spread(test, wide=len(charts) % 2 == 0), *charts],
        "bars": _label_bars(test) or _class_bars(test) or _target_bars(test),
        "examples": example_rows(examples),
        "classes": _key(test) if examples else [],
    }
    return found if any(found.values()) else None


def _score_rows(test: Mapping[str, Any]) -> list[dict[str, str]]:
    scores, main = test.get("scores") or {}, headline(test)
    rows = []
    for name, score in scores.items():
        kind = main if name == main.name else style(name, unit=main.unit)
        row = {
            "name": kind.heading,
            "remark": "" if kind.higher_is_better else "less is better",
            "mean": kind.write(score.get("mean")),
            "spread": kind.spread(score.get("std_over_clients")),
            "interval": kind.interval(score.get("low"), score.get("high")),
            "pooled": "" if score.get("pooled") is None else kind.write(score["pooled"]),
        }
        rows.append(row)
    return rows


def _spread(test: Mapping[str, Any], *, wide: bool) -> list[dict[str, str]]:
    main = headline(test)
    values: Sequence[float | None] = (test.get("per_client") or {}).get(main.name) or ()
    if sum(value is not None and math.isfinite(value) for value in values) < 2:
        return []
    figures = test_score(test, main.name)
    title = f"{main.title} of every client"
    svg = inline_svg(spread_chart(values, main, figures), "spread", title)
    broad = inline_svg(spread_chart(values, main, figures, wide=True), "wide-spread", title) if wide else ""
    band = "" if figures.get("low") is None else ", the band its 95 % interval"
    words = f"{spread_words(values, main)} The line is the mean{band}."
    return [{"title": f"{main.heading} of every client", "svg": svg, "wide": broad, "note": words}]


def _roc(test: Mapping[str, Any]) -> list[dict[str, str]]:
    several, threshold = _several(test.get("roc")), test.get("threshold")
    if not several:
        return []
    chosen = _operating_point(test) if len(several) == 1 else None
    remark = ""
    if len(several) == 1 and (test.get("scores") or {}).get("auroc"):
        area = test_score(test, "auroc")
        span = style("auroc").interval(area.get("low"), area.get("high"))
        remark = f"AUROC {style('auroc').write(area.get('mean'))}" + (f"\n95 % interval {span}" if span else "")
    dot = f" The dot is the threshold in use, {threshold:.3g}." if chosen and threshold is not None else ""
    note = f"All clients’ predictions together; the dashed line is guessing.{dot}"
    figure = inline_svg(roc_chart(several, remark, chosen), "roc", "ROC curves" if len(several) > 1 else "ROC curve")
    title = _titled("ROC curve", several[0]) if len(several) == 1 else "ROC curves"
    return [{"title": title, "svg": figure, "wide": "", "note": f"{note}{_left_out(test, 'roc')}"}]


def _operating_point(test: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the false and true positive rate at the threshold in use, if the scores tell them."""
    found = []
    for name in ("specificity", "recall"):
        score = test_score(test, name)
        value = score.get("mean") if score.get("pooled") is None else score["pooled"]
        if value is None or not math.isfinite(value):
            return None
        found.append(float(value))
    return 1 - found[0], found[1]


def _reliability(test: Mapping[str, Any]) -> list[dict[str, str]]:
    several = _several(test.get("reliability"))
    if not several:
        return []
    title = _titled("Reliability", several[0]) if len(several) == 1 else "Reliability"
    note = "On the dashed line, probabilities are true; a larger dot stands for more samples."
    svg = inline_svg(reliability_chart(several), "reliability", "reliability diagram")
    return [{"title": title, "svg": svg, "wide": "", "note": f"{note}{_left_out(test, 'reliability')}"}]


def _left_out(test: Mapping[str, Any], name: str) -> str:
    left = 0 if isinstance(test[name], Mapping) else len(test[name]) - MOST
    return f" Drawn are the first {MOST}; {left} more are in summary.json." if left > 0 else ""


def _residuals(test: Mapping[str, Any]) -> list[dict[str, str]]:
    note = "Darker cells have more samples; on the dashed line, predictions are right. Below: how far they are off."
    return [
        {
            "title": _titled("Predicted and true values", one),
            "wide": "",
            "svg": inline_svg(
                residual_chart(one), f"residuals-{number}", _titled("predicted against true values", one)
            ),
            "note": f"{note}{_left_out(test, 'residuals')}" if number + 1 == MOST else note,
        }
        for number, one in enumerate(_several(test.get("residuals")))
    ]


def _several(told: Any) -> list[Mapping[str, Any]]:
    """Return one figure or several as a list of the first."""
    return list([told] if isinstance(told, Mapping) else told or ())[:MOST]


def _titled(title: str, one: Mapping[str, Any]) -> str:
    return f"{title}: {one['name']}" if one.get("name") else title


def _label_bars(test: Mapping[str, Any]) -> dict[str, Any] | None:
    known: Sequence[Mapping[str, Any]] = test.get("per_label") or ()
    rows = [
        (one, one.get("auroc"), (_plain(one.get("average_precision")), numbers.count(one.get("support"))))
        for one in known
    ]
    note = "AUROC is the probability that a sample with the finding ranks above one without it; the tick is guessing."
    return _bars("Each label", "AUROC", ("Average precision", "Samples with it"), rows, note, tick=50.0)


def _class_bars(test: Mapping[str, Any]) -> dict[str, Any] | None:
    known: Sequence[Mapping[str, Any]] = [one for one in test.get("per_class") or () if "iou" in one]
    rows = [(one, one.get("iou"), (_plain(one.get("dice")),)) for one in known]
    note = "IoU is the shared area of truth and prediction as a part of the area of both; Dice is 2 IoU / (1 + IoU)."
    return _bars("Each class", "IoU", ("Dice",), rows, note)


def _target_bars(test: Mapping[str, Any]) -> dict[str, Any] | None:
    known: Sequence[Mapping[str, Any]] = test.get("per_target") or ()
    errors = style("rmse", unit=headline(test).unit)
    rows = [(one, one.get("r2"), (errors.write(one.get("rmse")), errors.write(one.get("mae")))) for one in known]
    note = "R² is the part of a target’s variance that is predicted; it is below zero where the mean is a better guess."
    return _bars("Each target", "R²", ("RMSE", "MAE"), rows if len(rows) > 1 else [], note)


def _bars(
    title: str,
    measure: str,
    further: Sequence[str],
    rows: Sequence[tuple[Mapping[str, Any], float | None, tuple[str, ...]]],
    note: str,
    tick: float | None = None,
) -> dict[str, Any] | None:
    """Return a table with a bar in each row; of many rows the worst come first."""
    if not rows:
        return None
    many = len(rows) > SHOWN
    ordered = sorted(rows, key=lambda row: 2.0 if row[1] is None else row[1]) if many else list(rows)
    lines = [
        {
            "name": str(one.get("name", "")),
            "width": 0.0 if value is None else max(0.0, min(100.0, value * 100)),
            "figure": _plain(value),
            "further": figures,
        }
        for one, value, figures in ordered
    ]
    head = {"title": f"{title}, the worst first" if many else title, "measure": measure, "further": further}
    return {**head, "rows": lines[:SHOWN], "more": lines[SHOWN:], "note": note, "tick": tick}


def _plain(value: float | None) -> str:
    return numbers.decimal(value)


def _key(test: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the colour and the name of every class of pixels."""
    known: Sequence[Mapping[str, Any]] = [one for one in test.get("per_class") or () if "iou" in one]
    return [(colour_of(number), str(one.get("name", number))) for number, one in enumerate(known)]


def score_tile(test: Mapping[str, Any], main: ScoreStyle) -> tuple[str, str, str]:
    """Return the headline as a tile: name, figure, and a remark with its interval or its spread over clients."""
    score = test_score(test, main.name)
    span, spread = main.interval(score.get("low"), score.get("high")), main.spread(score.get("std_over_clients"))
    remarks = (f"95 %: {span}" if span else "", f"{spread} over clients" if spread else "")
    told = ", ".join(filter(None, remarks)).replace("± ", "±\u00a0")
    return f"Test {main.title}", main.write(score.get("mean")), told
