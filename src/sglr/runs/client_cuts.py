"""Read ``--cuts``: which client is cut where, as ``0-4=layer1,5-9=40%``, or by device as ``phone=layer1``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sglr.core.errors import UsageError, name_clients

EXAMPLE = "0-4=layer1,5-9=40%"


def written(value: Any) -> Any:
    """Return a table of clients or devices and cuts as the text that ``--cuts`` takes; anything else as it is."""
    if not isinstance(value, Mapping):
        return value
    return ",".join(f"{clients}={cut}" for clients, cut in value.items())


def cuts_of_clients(text: str, clients: int, devices: Callable[[], Sequence[str] | None] = lambda: None) -> list[str]:
    """Return each client's cut as it is given: a layer's name, a number or a share.

    Parameters
    ----------
    text
        ``CLIENTS=CUT`` one or several times, joined by commas; ``CLIENTS`` is a number, a range with both ends, or the
        device of clients.
    clients
        How many there are.
    devices
        Asked for the device of each client where one is named; None if clients have none.

    Raises
    ------
    UsageError
        If it can't be read, names clients or devices that there are not, or a client twice, or leaves one out.
    """
    found: dict[int, str] = {}
    have: Sequence[str] | None = None
    for entry in text.split(","):
        who, equals, cut = (part.strip() for part in entry.partition("="))
        if not (equals and cut and who):
            problem = f"{entry.strip()!r} is not clients and their cut"
            raise UsageError("cuts", text, problem, f"write ranges of clients, each with its cut: {EXAMPLE}")
        chosen: Sequence[int] | None = _range_of(who, text, clients)
        if chosen is None:
            have = have or devices()
            chosen = _having(who, text, have)
        twice = [client for client in chosen if client in found]
        if twice:
            raise UsageError("cuts", text, f"{name_clients(twice)} would have two cuts", "give each client one")
        found |= dict.fromkeys(chosen, cut)
    without = [client for client in range(clients) if client not in found]
    if without:
        whose = f" ({', '.join(sorted({have[client] for client in without}))})" if have else ""
        remedy = "give each client one" if not have else "give each device one, or clients by range"
        raise UsageError("cuts", text, f"{name_clients(without)}{whose} would have no cut", remedy)
    return [found[client] for client in range(clients)]


def _range_of(who: str, text: str, clients: int) -> range | None:
    """Return the clients of a number or a range; None if it is neither."""
    numbers = re.fullmatch(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", who)
    if numbers is None:
        return None
    first = int(numbers[1])
    last = first if numbers[2] is None else int(numbers[2])
    if last < first or last >= clients:
        problem = f"{who} is no range of the {clients} clients"
        raise UsageError("cuts", text, problem, f"give ranges among 0 to {clients - 1}, such as {EXAMPLE}")
    return range(first, last + 1)


def _having(device: str, text: str, devices: Sequence[str] | None) -> list[int]:
    """Return the clients that have a device."""
    if devices is None:
        problem = f"{device!r} is no range of clients, and clients have no devices without a clock"
        remedy = f"give --clock, such as 0-4=phone/4g,5-9=laptop/wifi, or write ranges: {EXAMPLE}"
        raise UsageError("cuts", text, problem, remedy)
    chosen = [client for client, its in enumerate(devices) if its == device]
    if not chosen:
        there = ", ".join(sorted(set(devices)))
        problem = f"{device!r} is no range of clients, and no client has such a device"
        raise UsageError("cuts", text, problem, f"name devices that --clock gives: {there}; or write ranges: {EXAMPLE}")
    return chosen


def told(names: Sequence[str]) -> str:
    """Return each client's cut as ``--cuts`` takes it, neighbours together."""
    ranges: list[tuple[int, int, str]] = []
    for client, name in enumerate(names):
        if ranges and ranges[-1][2] == name:
            ranges[-1] = (ranges[-1][0], client, name)
        else:
            ranges.append((client, client, name))
    return ",".join(f"{first if first == last else f'{first}-{last}'}={name}" for first, last, name in ranges)


def ranges_of(clients: Sequence[int]) -> list[str]:
    """Return clients, ascending, as ranges: ``0-4``, ``7``."""
    found: list[tuple[int, int]] = []
    for client in clients:
        if found and found[-1][1] == client - 1:
            found[-1] = (found[-1][0], client)
        else:
            found.append((client, client))
    return [f"{first}" if first == last else f"{first}-{last}" for first, last in found]
