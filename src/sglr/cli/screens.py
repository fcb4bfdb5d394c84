"""Layout of screens: panels of facts, tables, small text plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.panel import Panel
    from rich.table import Table


def facts(title: str, rows: Mapping[str, str], columns: int = 1) -> Panel:
    """Return names and values under a title, in one or more pairs of columns."""
    from rich.box import ROUNDED
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for _ in range(columns):
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
    pairs = [(Text(name), Text(value)) for name, value in rows.items()]
    height = -(-len(pairs) // columns)
    for row in range(height):
        grid.add_row(*(cell for pair in pairs[row::height] for cell in pair))
    return Panel(grid, title=Text(title, style="bold"), title_align="left", box=ROUNDED, expand=False)


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """Return values as a row of bars of eight heights, from the smallest to the largest."""
    shown = [values[position * len(values) // width] for position in range(width)] if len(values) > width else values
    low, high = min(shown), max(shown)
    step = (high - low) / 7 or 1.0
    return "".join("▁▂▃▄▅▆▇█"[round((value - low) / step)] for value in shown)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], named: int = 1) -> Table:
    """Return a table whose first ``named`` columns are names and whose other columns are figures."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    found = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in headings[:named]:
        found.add_column(heading)
    for heading in headings[named:]:
        # Figures stay on one line and headings are narrow, to leave room for names.
        found.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in rows:
        found.add_row(*row)
    return found
