"""A table of the paper against ours, as page and Markdown show it: every figure as text, shades as numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from statistics import fmean
from typing import Any

from sglr.report import numbers

FULL_POINTS = 5.0
"""A difference of so many percentage points has the strongest shade."""
FULL_SHARE = 0.25
"""In other units it is this share of the paper's figure."""
MOST_DECIMALS = 2  # of a paper's figure in percent
FAINTEST = 0.02  # a shade below this would not be seen

Write = Callable[[float | None], str]


@dataclass(frozen=True)
class ShownCell:
    """One cell.

    Parameters
    ----------
    ours, spread, paper, difference
        The figures as text; a dash or nothing where there is none.
    shade
        From -1 (far below the paper) to 1 (far above it).
    note
        The number of its note beneath the table, from 1; 0 where there is none.
    """

    ours: str
    spread: str
    paper: str
    difference: str
    shade: float
    note: int


@dataclass(frozen=True)
class ShownTable:
    """A table of `ShownCell`.

    Parameters
    ----------
    caption, unit, row_title
        What it shows, in which unit, and what tells its rows apart.
    rows, columns
        The names of its rows and columns.
    groups
        Where the columns' names are pairs ("α = 1, φ = 0.5"), the halves that neighbours share, with how many columns
        each spans.
    heads
        The columns' names without what ``groups`` says already.
    cells
        One row of cells for each of ``rows``.
    notes
        What is to be said of single cells, in the order of their numbers.
    compared
        How far ours is from the paper's on average, in words; empty where nothing can be compared.
    """

    caption: str
    unit: str
    row_title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    groups: tuple[tuple[str, int], ...]
    heads: tuple[str, ...]
    cells: tuple[tuple[ShownCell, ...], ...]
    notes: tuple[str, ...]
    compared: str

    @property
    def has_paper(self) -> bool:
        """Whether the paper has any of its figures."""
        return any(cell.paper != numbers.NONE for row in self.cells for cell in row)

    @property
    def has_spread(self) -> bool:
        """Whether any figure is the mean of several runs."""
        return any(cell.spread for row in self.cells for cell in row)


def show_table(table: Mapping[str, Any]) -> ShownTable:
    """Prepare a table of a reproduction's record."""
    unit, every = str(table["unit"]), [cell for row in table["cells"] for cell in row]
    notes = tuple(dict.fromkeys(cell["note"] for cell in every if cell.get("note")))
    writers = _writers(unit, every)
    columns = tuple(str(column) for column in table["columns"])
    groups, heads = _grouped(columns)
    return ShownTable(
        caption=str(table["caption"]),
        unit=unit,
        row_title=str(table["row_title"]),
        rows=tuple(str(row) for row in table["rows"]),
        columns=columns,
        groups=groups,
        heads=heads,
        cells=tuple(tuple(_show_cell(cell, unit, writers, notes) for cell in row) for row in table["cells"]),
        notes=notes,
        compared=_compared(every, unit),
    )


def differences(cells: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the differences that are numbers."""
    found = [cell.get("difference") for cell in cells]
    return [float(value) for value in found if value is not None and math.isfinite(value)]


def _writers(unit: str, cells: Sequence[Mapping[str, Any]]) -> tuple[Write, Write]:
    """Return how the unit's figures are written: ours, and the paper's with what is between them."""
    if unit == "%":
        digits = max([_decimals(cell["paper"]) for cell in cells if cell["paper"] is not None], default=MOST_DECIMALS)
        return partial(_fixed, digits=1), partial(_fixed, digits=digits)
    if unit in ("B", "bytes"):
        return numbers.size, numbers.size
    if unit in ("s", "seconds"):
        return numbers.duration, numbers.duration
    return numbers.plain, numbers.plain


def _fixed(number: float | None, digits: int) -> str:
    if number is None or not math.isfinite(number):
        return numbers.NONE
    return f"{number:.{digits}f}".replace("-", numbers.MINUS)


def _decimals(number: float) -> int:
    return max(1, len(f"{number:.{MOST_DECIMALS}f}".rstrip("0").partition(".")[2]))


def _show_cell(cell: Mapping[str, Any], unit: str, writers: tuple[Write, Write], notes: tuple[str, ...]) -> ShownCell:
    write, write_paper = writers
    spread = cell.get("spread") if cell["ours"] is not None else None
    note = cell.get("note")
    return ShownCell(
        ours=write(cell["ours"]),
        spread=f"± {numbers.plain(spread, 2) if write is numbers.plain else write(spread)}" if spread else "",
        paper=write_paper(cell["paper"]),
        difference=numbers.signed(cell.get("difference"), write_paper),
        shade=_shade(cell, unit),
        note=notes.index(note) + 1 if note else 0,
    )


def _shade(cell: Mapping[str, Any], unit: str) -> float:
    difference, paper = cell.get("difference"), cell["paper"]
    if difference is None or not math.isfinite(difference):
        return 0.0
    full = FULL_POINTS if unit == "%" else abs(paper or 0.0) * FULL_SHARE
    shade = difference / full if full else math.copysign(float(difference != 0), difference)
    return round(max(-1.0, min(1.0, shade)), 3) if abs(shade) >= FAINTEST else 0.0


def _compared(cells: Sequence[Mapping[str, Any]], unit: str) -> str:
    apart = differences(cells)
    if not apart:
        return ""
    if unit != "%":
        shares = [abs(cell["difference"] / cell["paper"]) for cell in cells if differences([cell]) and cell["paper"]]
        return f"{numbers.percent(fmean(shares))} apart on average" if shares else ""
    mean = numbers.signed(fmean(apart), partial(_fixed, digits=1))
    largest = numbers.signed(max(apart, key=abs), partial(_fixed, digits=1))
    return f"{mean} points on average, {largest} at most"


def _grouped(columns: tuple[str, ...]) -> tuple[tuple[tuple[str, int], ...], tuple[str, ...]]:
    """Take out of names that are pairs the halves that neighbours share, the first halves if they share any."""
    pairs = [column.split(", ", 1) for column in columns]
    if all(len(pair) == 2 for pair in pairs):
        for half in (0, 1):
            groups = tuple((name, len(list(members))) for name, members in groupby(pair[half] for pair in pairs))
            if len(groups) < len(pairs):
                return groups, tuple(pair[1 - half] for pair in pairs)
    return (), columns
