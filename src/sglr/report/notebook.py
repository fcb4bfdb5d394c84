"""How results show themselves in a notebook: small HTML, and figures that it draws.

The HTML has no colours and no style sheet of its own, so that it looks right in light and dark notebooks; all text
in it is escaped.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sglr.core.errors import UsageError
from sglr.report.charts import add_legend, blank_axes, draw_loss, draw_score
from sglr.report.comparison import comparison_figure
from sglr.report.run_report import best_validation, progress, sentence, tiles
from sglr.report.score_style import headline, headline_of_rows, test_score
from sglr.report.sweep import sweep_figure
from sglr.runs.folder import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["comparison_plot", "run_html", "run_line", "run_plot", "sweep_plot", "table_html", "table_text"]

HEADING: dict[str, Any] = {"fontsize": 10, "loc": "left", "pad": 24}
"""How a chart's heading stands, above the legend."""

MOST_ROWS = 60
"""Rows of a table that a notebook shows."""


def run_line(run: Run) -> str:
    """Describe a run in one line; a folder that can't be read is told by its path."""
    told: list[str] = []
    with suppress(Exception):  # a repr never raises
        settings, history, summary = run.settings, run.history, run.summary
        told.append(f"{settings.get('method')} on {settings.get('dataset')}, {settings.get('clients')} clients")
        told.append(f"{len(history)} of {settings.get('epochs')} epochs")
        if summary:
            score = headline(summary["test"])
            told.append(f"test {score.title} {score.write(test_score(summary['test'], score.name)['mean'])}")
    return f"<Run {run.path}{': ' if told else ''}{', '.join(told)}>"


def run_html(run: Run) -> str:
    """Return what was run and its headline figures as HTML."""
    settings, summary, history = run.settings, run.summary or {}, run.history
    unfinished = "" if summary else f"<p>{escape(progress(settings, history))}</p>"
    rows = [(tile.name, tile.figure, tile.remark) for tile in tiles(summary, history)]
    return f"<p>{escape(sentence(settings, summary))}</p>{unfinished}{_table((), rows)}{_where(run.path)}"


def run_plot(run: Run) -> Figure:
    """Draw the score and the loss over epochs, as in the run's report.

    Raises
    ------
    UsageError
        If no epoch is over yet.
    """
    from matplotlib.figure import Figure

    summary, history = run.summary or {}, run.history
    if not history:
        raise UsageError("run", run.path, "no epoch is over yet, so that there is nothing to plot", "train it first")
    figure = Figure(figsize=(8.2, 3.2), layout="constrained")
    left, right = (blank_axes(axes) for axes in figure.subplots(1, 2))
    score, best = headline(summary.get("test"), history), best_validation(summary, history)
    draw_score(left, history, best and best[2], score)
    left.set_title(score.heading, **HEADING)
    draw_loss(right, history)
    right.set_title("Loss", **HEADING)
    return _shown(figure)


def comparison_plot(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the validation score over epochs, one line per method, as in the comparison's report."""
    figure = comparison_figure(rows)
    figure.axes[0].set_title(f"Validation {headline_of_rows(rows).title}", fontsize=10, loc="left")
    return _shown(figure)


def sweep_plot(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the test score over the number that varies, or one point per configuration where none does."""
    figure = sweep_figure(rows, headline_of_rows(rows))
    if len(figure.axes[0].get_legend_handles_labels()[0]) > 1:  # the report's page says beside it which line is which
        add_legend(figure.axes[0])
    return _shown(figure)


def table_html(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], path: object) -> str:
    """Return a table as HTML, with its title above and its folder below; of very many rows the first."""
    return f"<p>{escape(title)}</p>{_table(headings, rows)}{_where(path)}"


def table_text(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as plain text, its columns aligned: the first to the left, figures to the right."""
    lines = [tuple(headings), *(tuple(row) for row in rows[:MOST_ROWS])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    written = [
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    ]
    return "\n".join([title, *(line.rstrip() for line in written), *_left_out(rows)])


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows[:MOST_ROWS])
    more = "".join(f"<p>{line}</p>" for line in _left_out(rows))
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>{more}"


def _left_out(rows: Sequence[object]) -> list[str]:
    return [f"and {len(rows) - MOST_ROWS} more rows"] if len(rows) > MOST_ROWS else []


def _where(path: object) -> str:
    return f"<p><code>{escape(str(path))}</code></p>"


def _shown(figure: Figure) -> Figure:
    """Prepare a figure to be looked at: a dollar sign in a name is no formula, and a notebook shows it."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    if "ipykernel" in sys.modules:
        _teach_notebook()
    return figure


def _teach_notebook() -> None:
    """Have the notebook draw figures from this cell on, unless it does already; matplotlib alone does from the next."""
    from matplotlib.figure import Figure

    shell: Any = import_module("IPython").get_ipython()
    formatters = () if shell is None else shell.display_formatter.formatters.values()
    if shell is not None and not any(Figure in formatter.type_printers for formatter in formatters):
        import_module("IPython.core.pylabtools").select_figure_formats(shell, {"png"})
