"""The report of a comparison: one table, one plot, and what was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sglr.run import Run, write_text


@dataclass(frozen=True)
class ComparisonRow:
    """One method of a comparison, run with one or several seeds.

    Parameters
    ----------
    label
        What tells it from the others, e.g. ``"sglr (phi=0.75, alpha=0.5)"``.
    method
        Its registered name.
    runs
        Folders of its runs, one for each seed.
    diverged
        What is to be said of each run that diverged, e.g. ``"seed 1 at step 30"``.
    """

    label: str
    method: str
    runs: tuple[Path, ...]
    diverged: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: ComparisonRow | Mapping[str, Any]) -> ComparisonRow:
        """Take a row as it is, or from a mapping with the same keys."""
        if isinstance(row, ComparisonRow):
            return row
        runs = tuple(Path(path) for path in row["runs"])
        return cls(row["label"], row["method"], runs, tuple(str(note) for note in row.get("diverged", ())))
