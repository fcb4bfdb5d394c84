"""Classes that were agreed elsewhere, and data that must keep to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sglr.core.errors import UsageError, listed

SHOWN = 20  # names in a message


def refuse_unknown(found: Iterable[str], known: Sequence[str], source: str) -> None:
    """Raise UsageError if data have a class that is not among those ``known``; they may lack some.

    Parameters
    ----------
    found
        The classes of the data.
    known
        The classes that were agreed.
    source
        Where the data come from, for the message.
    """
    strangers = sorted(set(found) - set(known))
    if strangers:
        problem = f"{source} has what is none of the classes"
        raise UsageError(
            "classes", ", ".join(strangers[:SHOWN]), problem, f"rename or remove it; known: {listed(known, SHOWN)}"
        )
