"""How screens look: panels of facts, tables, small plots of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.panel import Panel


def facts(title: str, rows: Mapping[str, str]) -> Panel:
    """Return names and values in two columns under a title."""
    from rich.box import ROUNDED
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return Panel(table, title=Text(title, style="bold"), title_align="left", box=ROUNDED, expand=False)


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """Return values as a row of bars of eight heights, from the least to the greatest."""
    shown = [values[position * len(values) // width] for position in range(width)] if len(values) > width else values
    low, high = min(shown), max(shown)
    step = (high - low) / 7 or 1.0
    return "".join("▁▂▃▄▅▆▇█"[round((value - low) / step)] for value in shown)
