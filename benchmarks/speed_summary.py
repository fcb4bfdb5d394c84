"""What docs/results/speed.md says in short: how sglr compares with others, in a sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from speed_goals import Result, result

MANY = 20
"""Clients of the case that stands for all in the comparison with the authors' loop."""


def summary(results: Path) -> Iterator[str]:
    """Yield a sentence for each comparison that was made."""
    for name, sentence in (("flower", flower), ("throughput", loop), ("cyclesl_code", cyclesl)):
        if (found := result(name, results)) is not None:
            yield sentence(found)


def flower(found: Result) -> str:
    """Compare rounds and memory with Flower's, in quiet."""
    ratios = {kind: [case["flower_to_sglr"]["quiet"] for case in found.get(kind, {}).values()] for kind in KINDS}
    rounds = " and ".join(f"{between(each)} times {KINDS[kind]}" for kind, each in ratios.items() if each)
    states = [case["quiet"] for case in found.get("simulation", {}).values()]
    memory = between([state["flower"]["memory_mb"] / state["sglr"]["memory_mb"] for state in states])
    what = "as long as sglr for a round of federated averaging; its simulation holds"
    return f"**Flower** takes {rounds} {what} {memory} times the memory."


KINDS = {"simulation": "in simulation", "deployed": "between processes"}


def loop(found: Result) -> str:
    """Compare steps with those of the authors' loop."""
    rows = [row for row in found["throughput"] if "skipped" not in row and row["clients"] == MANY]
    each = ", ".join(f"{row['ratios']['sglr / published loop']:.1f} times ({row['model']})" for row in rows)
    return f"**The authors' loop** takes one of {MANY} clients after another: sglr is {each} as fast."


def cyclesl(found: Result) -> str:
    """Compare rounds with those of CycleSL's code."""
    ratios = between([row["processor_authors_to_sglr"] for row in found["rows"]])
    return f"**CycleSL's code** takes {ratios} times the processor time of `--method cyclesl`."


def between(ratios: Iterable[float]) -> str:
    """Return the range of some ratios."""
    low, *_, high = (f"{value:.1f}" for value in sorted([*ratios] * 2))
    return low if low == high else f"{low} to {high}"
