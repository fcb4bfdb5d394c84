"""The costs of a comparison's methods as pictures: bytes by kind, and the score against bytes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from sglr.report import numbers
from sglr.report.charts import Curve, blank_chart, show_score
from sglr.report.comparison_chart import name_ends
from sglr.report.comparison_table import Compared
from sglr.report.costs import MEANINGS, kinds_of, within
from sglr.report.palette import MUTED, colour
from sglr.report.score_style import ScoreStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAR_APART = 5  # bytes whose extremes differ by more than this factor are drawn on a logarithmic scale
NARROW_LABEL = 18  # characters


def ledger_bars(methods: Sequence[Compared]) -> dict[str, Any] | None:
    """Stack every method's bytes by kind, means over its runs, as shares of the busiest method's.

    Returns
    -------
    dict or None
        ``rows`` with a label, parts (kind, direction, bytes, share in percent) and a total; ``kinds`` with what each
        is. None where nothing was sent.
    """
    ledgers = [_mean_ledger(one) for one in methods]
    totals = [sum(sum(kinds.values()) for kinds in ledger.values()) for ledger in ledgers]
    busiest, kinds = max(totals, default=0.0), kinds_of(ledgers)
    if not busiest:
        return None
    rows = [
        {
            "label": one.row.label,
            "total": numbers.size(total),
            "parts": [
                {
                    "kind": kind,
                    "up": direction == "up",
                    "size": numbers.size(ledger[direction][kind]),
                    "share": ledger[direction][kind] / busiest * 100,
                }
                for direction in ("up", "down")
                for kind in kinds
                if ledger.get(direction, {}).get(kind)
            ],
        }
        for one, ledger, total in zip(methods, ledgers, totals, strict=True)
    ]
    named = [{"kind": kind, "meaning": MEANINGS.get(kind, "")} for kind in kinds]
    return {"rows": rows, "kinds": named}


def _mean_ledger(method: Compared) -> dict[str, dict[str, float]]:
    found = [within(summary, "communication", "by_kind") for summary in method.summaries]
    ledgers = [ledger for ledger in found if ledger]
    return {
        direction: {
            kind: fmean(ledger.get(direction, {}).get(kind, 0) for ledger in ledgers)
            for kind in dict.fromkeys(kind for ledger in ledgers for kind in ledger.get(direction, {}))
        }
        for direction in ("up", "down")
    }


def bytes_and_score(methods: Sequence[Compared], score: ScoreStyle) -> list[Curve]:
    """Return a point for each method: total bytes and test score, the spread over seeds; empty if it lacks one."""
    return [_point(one, score) for one in methods]


def _point(method: Compared, score: ScoreStyle) -> Curve:
    scores = method.values(*score.place)
    up, down = method.mean("communication", "up_bytes"), method.mean("communication", "down_bytes")
    if not scores or up is None or down is None or up + down <= 0:
        return Curve(method.row.label, (), ())
    spread = (stdev(scores),) if len(scores) > 1 else ()
    return Curve(method.row.label, (up + down,), (fmean(scores),), spread)


def worth_drawing(points: Sequence[Curve]) -> bool:
    """Tell whether the score against bytes is worth drawing: at least two methods that do not all send the same."""
    places = {numbers.size(point.epochs[0]) for point in points if point.values}
    return len(places) > 1


def bytes_chart(points: Sequence[Curve], score: ScoreStyle, *, wide: bool) -> Figure:
    """Draw the test's score against the bytes that all clients sent and received, each point named."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    figure, axes = blank_chart(8.2, 3.4) if wide else blank_chart(4.1, 3.2)
    drawn = [(number, point) for number, point in enumerate(points) if point.values]
    for number, point in drawn:
        paint = colour(number).light
        axes.errorbar(
            point.epochs,
            point.values,
            yerr=point.spread or None,
            fmt="o",
            color=paint,
            markersize=7,
            elinewidth=1.4,
        )
    places = [point.epochs[0] for _, point in drawn]
    if max(places) / min(places) > FAR_APART:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(min(places) / 1.5, max(places) * 1.5)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.size(value)))
    else:
        margin = (max(places) - min(places)) * 0.08  # from zero on, all points would stand in one column
        axes.set_xlim(min(places) - margin, max(places) + margin)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6 if wide else 4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.exact_size(value)))
    axes.set_xlabel("sent and received, all clients", color=MUTED.light)
    axes.margins(y=0.15)
    show_score(axes, score)
    name_ends(axes, points, longest=36 if wide else NARROW_LABEL)
    return figure
