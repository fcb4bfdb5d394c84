"""The claims of the paper's Tables 1 to 4 by the short trainings of the study of all methods, with both starts."""

from __future__ import annotations

from pathlib import Path

from paper_length_figures import COMMON, INDEPENDENT
from which_method_figures import Difference, Rows, difference, holm, read_record, rows
from which_method_page import shown_gap

RECORD = Path(__file__).parent / "results/which-method-cpu.json"

DATA = {"fashion-cnn": "Fashion-MNIST, CNN", "digits": "digits, CNN", "fashion-resnet16": "Fashion-MNIST, ResNet16"}

PAIRS = (
    ("1", "SplitLr is above PSL", "slr", "psl"),
    ("2", "SplitAvg is above PSL", "sgl", "psl"),
    ("2, 4", "SGLR is above PSL", "sglr", "psl"),
    ("4", "SGLR is above SplitFed", "sglr", "sfl"),
    ("4", "SplitFed is above PSL", "sfl", "psl"),
    ("4", "SGLR is close to FL, or above", "sglr", "fl"),
    ("3", "φ = 1 ends below φ = 0.75", "sglr:phi=1", "sglr"),
)
"""Table, claim, and the two methods: the first less the second is measured."""

ALIKE = ("sfl", "fl")


def table() -> str:
    """Return a line for each claim and start with the difference on each data set, over clients with like data."""
    found = rows(read_record(RECORD).values())
    gaps: dict[tuple[str, str, str], Difference] = {}
    for _, claim, one, other in PAIRS:
        for start in (COMMON, INDEPENDENT):
            for data in DATA:
                gap = _gap(found, data, _begun(one, start), _begun(other, start))
                if gap is not None:
                    gaps[claim, start, data] = gap
    gaps = holm(gaps)
    lines = [f"| table | claim | start | {' | '.join(DATA.values())} |", f"|---|---|---|{'---:|' * len(DATA)}"]
    for name, claim, _, _ in PAIRS:
        for start in (COMMON, INDEPENDENT):
            own = [gaps.get((claim, start, data)) for data in DATA]
            if any(own):
                shown = [shown_gap(gap) + ("" if gap is None else f" ({gap.pairs})") for gap in own]
                lines.append(f"| {name} | {claim} | {start} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _begun(method: str, start: str) -> str:
    """Return a method as the study names it with a start; some begin alike whatever it is."""
    if start == COMMON or method in ALIKE:
        return method
    return f"{method}{',' if ':' in method else ':'}init=independent"


def _gap(found: Rows, data: str, one: str, other: str) -> Difference | None:
    cells = [found.get((data, "iid", method)) for method in (one, other)]
    return difference(cells[0].cells, cells[1].cells) if cells[0] and cells[1] else None
