"""One page about what several runs leak."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sglr.core.errors import UsageError
from sglr.report.leakage_comparison import leakage_page
from sglr.runs.folder import Run
from sglr.runs.new_folder import make_folder
from sglr.storage.files import write_text

PAGE = "leakage.html"


def write_comparison(runs: Sequence[Run], folder: Path, command: str = "") -> Path:
    """Write the page about runs that were measured, and return its path.

    Raises
    ------
    UsageError
        If the folder can't be written, or fewer than two runs are given.
    """
    if len(runs) < 2:
        raise UsageError("runs", len(runs), "nothing to compare", "give two runs or more")
    make_folder(folder)
    path = folder / PAGE
    write_text(path, leakage_page(folder, runs, command))
    return path
