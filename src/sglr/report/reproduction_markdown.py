"""What a reproduction of the paper's tables and figures found, as Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sglr.report import numbers
from sglr.report.paper_table import ShownCell, ShownTable, show_table

VERDICTS = {"holds": "✓ holds", "fails": "✗ fails", "undecided": "? undecided"}


def reproduction_markdown(records: Sequence[Mapping[str, Any]], command: str) -> str:
    """Write artefacts of the paper beside ours.

    Parameters
    ----------
    records
        One for each artefact, as `write_reproduction_report` takes them. Pictures and charts are left to the page.
    command
        What repeats it.

    Returns
    -------
    str
        A section for each artefact: what was run, its claims with verdicts, and tables whose cells are
        "ours ± spread (paper, difference)".
    """
    head = ["# Reproduction"] if len(records) != 1 else []
    parts = [*head, f"```sh\n{command}\n```" if command else ""]
    for record in records:
        parts += _artefact(record, "##" if head else "#")
    return "\n\n".join(part for part in parts if part) + "\n"


def _artefact(record: Mapping[str, Any], level: str) -> list[str]:
    claims = record.get("claims") or ()
    parts = [f"{level} {record['title']}", record.get("setting", ""), _facts(record)]
    if claims:
        rows = [(one["claim"], VERDICTS[one["verdict"]], one["test"], one["evidence"]) for one in claims]
        parts += [f"{level}# Claims", _grid(("claim", "verdict", "test", "evidence"), rows)]
    for table in record.get("tables") or ():
        parts += _table(show_table(table), level)
    parts.append("\n".join(f"- {_line(note)}" for note in record.get("notes") or ()))
    return parts


def _facts(record: Mapping[str, Any]) -> str:
    seeds = ", ".join(str(seed) for seed in record.get("seeds") or ())
    facts = {
        "scale": record.get("scale", ""),
        "seeds": seeds,
        "time": numbers.duration(record["seconds"]) if record.get("seconds") is not None else "",
        **(record.get("versions") or {}),
    }
    return "; ".join(f"{name} {value}" for name, value in facts.items() if value)


def _table(table: ShownTable, level: str) -> list[str]:
    caption = f"{table.caption}, {table.unit}" if table.unit else table.caption
    spread = " ± one standard deviation over seeds" if table.has_spread else ""
    legend = f"Ours{spread} (the paper's, difference)." if table.has_paper else f"Ours{spread}." if spread else ""
    rows = [(row, *(_cell(cell) for cell in cells)) for row, cells in zip(table.rows, table.cells, strict=True)]
    compared = f" Against the paper: {table.compared}." if table.compared else ""
    notes = "\n".join(f"{number}. {_line(note)}" for number, note in enumerate(table.notes, 1))
    grid = _grid((table.row_title, *table.columns), rows, figures=True)
    return [f"{level}# {caption}", grid, legend + compared, notes]


def _cell(cell: ShownCell) -> str:
    ours = " ".join(filter(None, (cell.ours, cell.spread)))
    beside = ", ".join(filter(None, (cell.paper, cell.difference))) if cell.paper != numbers.NONE else ""
    mark = f" [{cell.note}]" if cell.note else ""
    return f"{ours}{f' ({beside})' if beside else ''}{mark}"


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]], *, figures: bool = False) -> str:
    rule = ("---", *["---:" if figures else "---"] * (len(head) - 1))
    lines = [[_line(cell) for cell in row] for row in (head, *rows)]
    lines.insert(1, list(rule))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _line(text: str) -> str:
    """Keep a text within its cell: one line, and a bar is no border."""
    return " ".join(str(text).split()).replace("|", "\\|")
