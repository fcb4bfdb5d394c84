"""Check data against a fixed list of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sglr.core.errors import UsageError, listed

SHOWN = 20  # names in a message


def refuse_unknown(found: Iterable[str], known: Sequence[str], source: str) -> None:
    """Raise UsageError if data have a class that is not in ``known``; known classes may be absent.

    Parameters
    ----------
    found
        The classes of the data.
    known
        The allowed classes.
    source
        Where the data come from, for the message.
    """
    strangers = sorted(set(found) - set(known))
    if strangers:
        problem = f"{source} has unknown classes"
        raise UsageError(
            "classes", ", ".join(strangers[:SHOWN]), problem, f"rename or remove it; known: {listed(known, SHOWN)}"
        )
