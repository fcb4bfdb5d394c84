"""Read ``--cuts``: which client is cut where, as ``0-4=layer1,5-9=40%``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sglr.core.errors import UsageError, name_clients

EXAMPLE = "0-4=layer1,5-9=40%"


def written(value: Any) -> Any:
    """Return a table of client ranges and cuts as the text that ``--cuts`` takes; anything else as it is."""
    if not isinstance(value, Mapping):
        return value
    return ",".join(f"{clients}={cut}" for clients, cut in value.items())


def cuts_of_clients(text: str, clients: int) -> list[str]:
    """Return each client's cut as it is given: a layer's name, a number or a share.

    Parameters
    ----------
    text
        ``CLIENTS=CUT`` one or several times, joined by commas; ``CLIENTS`` is a number or a range with both ends.
    clients
        How many there are.

    Raises
    ------
    UsageError
        If it can't be read, names clients that there are not or a client twice, or leaves one out.
    """
    found: dict[int, str] = {}
    for entry in text.split(","):
        who, equals, cut = (part.strip() for part in entry.partition("="))
        numbers = re.fullmatch(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", who)
        if not (equals and cut and numbers):
            problem = f"{entry.strip()!r} is not clients and their cut"
            raise UsageError("cuts", text, problem, f"write ranges of clients, each with its cut: {EXAMPLE}")
        first = int(numbers[1])
        last = first if numbers[2] is None else int(numbers[2])
        if last < first or last >= clients:
            problem = f"{who} is no range of the {clients} clients"
            raise UsageError("cuts", text, problem, f"give ranges among 0 to {clients - 1}, such as {EXAMPLE}")
        twice = [client for client in range(first, last + 1) if client in found]
        if twice:
            raise UsageError("cuts", text, f"{name_clients(twice)} would have two cuts", "give each client one")
        found |= dict.fromkeys(range(first, last + 1), cut)
    without = [client for client in range(clients) if client not in found]
    if without:
        raise UsageError("cuts", text, f"{name_clients(without)} would have no cut", "give each client one")
    return [found[client] for client in range(clients)]


def told(names: Sequence[str]) -> str:
    """Return each client's cut as ``--cuts`` takes it, neighbours together."""
    ranges: list[tuple[int, int, str]] = []
    for client, name in enumerate(names):
        if ranges and ranges[-1][2] == name:
            ranges[-1] = (ranges[-1][0], client, name)
        else:
            ranges.append((client, client, name))
    return ",".join(f"{first if first == last else f'{first}-{last}'}={name}" for first, last, name in ranges)
