"""The setting ``clock``: which device and link each simulated client has."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import numpy as np
from pydantic import Field

from sglr.core.errors import NotRead, UsageError, refuse_long
from sglr.core.random import generator
from sglr.core.spec import Option, Spec
from sglr.cost.fleet import DEVICES, Fleet, Link, read_device, read_link
from sglr.cost.units import read_rate, read_time

T = TypeVar("T")

FIELD, SERVER, DISTRIBUTION = "clock", "server", "lognormal"

COLUMNS = ("client", "flops", "up", "down", "rtt")
"""Columns of a table of measured devices and links."""

_WRITE = "write it like phone/4g, or 0-4=phone/4g,5-9=laptop/wifi,server=server"
_RANGE = re.compile(r"(?P<first>\d+)(-(?P<last>\d+))?")
_OPTIONS = {
    "around": Option(str, "the device and link of the median client, such as phone/4g"),
    "sigma": Option(Annotated[float, Field(ge=0, le=5)], "the standard deviation of the logarithm of speeds and rates"),
    SERVER: Option(str, "the server's device"),
}
_SIGMA = 0.5


class Client(NamedTuple):
    """A client's device and link: operations per second, and what the device is called."""

    flops: float
    link: Link
    device: str


def read_clock(text: str, clients: int, seed: int) -> Fleet:
    """Read a clock.

    Parameters
    ----------
    text
        ``"phone/4g"`` for all clients; ``"0-4=phone/4g,5-9=laptop/wifi,server=workstation"``; the path of a table
        (``.csv``) with the columns of `COLUMNS`, a row per client and, if wanted, one of the server; or
        ``"lognormal:phone/4g,sigma=0.5"``, which draws speeds and rates around those of a device and a link.
    clients
        C.
    seed
        What a distribution is drawn by.

    Raises
    ------
    UsageError
        If it can't be read, leaves out a client, or names one that does not exist.
    """
    if text.endswith(".csv"):
        return _fleet(*_table(Path(text), clients), clients, text)
    refuse_long(FIELD, text)
    if Spec.parse(FIELD, text).name == DISTRIBUTION:
        return _drawn(text, clients, seed)
    return _fleet(*_assigned(text, clients), clients, text)


def _assigned(text: str, clients: int) -> tuple[dict[int, Client], float]:
    """Return devices and links by client, and the server's speed, of ``range=device/link`` with commas between."""
    found: dict[int, Client] = {}
    others, server = None, DEVICES[SERVER]
    for word in filter(None, (part.strip() for part in text.split(","))):
        who, equals, what = (part.strip() for part in word.rpartition("="))
        if who == SERVER:
            server = _named(read_device, what, text)
        elif not equals:
            if others is not None:
                raise UsageError(FIELD, text, "gives all clients a device twice", _WRITE)
            others = _device_and_link(what, text)
        else:
            one = _device_and_link(what, text)
            for client in _clients_of(who, clients, text):
                if client in found:
                    raise UsageError(FIELD, text, f"gives client {client} a device twice", "give each client one")
                found[client] = one
    if others is not None:
        found = dict.fromkeys(range(clients), others) | found
    return found, server


def _device_and_link(text: str, whole: str) -> Client:
    device, _, link = text.partition("/")
    if not (device.strip() and link.strip()):
        raise UsageError(FIELD, whole, f"{text!r} is not a device and a link", _WRITE)
    return Client(_named(read_device, device, whole), _named(read_link, link, whole), device.strip())


def _named(read: Callable[[str, str], T], text: str, whole: str) -> T:
    """Read a device or a link of a clock; the error quotes the clock, and the part that is wrong."""
    try:
        return read(text, FIELD)
    except UsageError as error:
        problem = error.problem if text == whole else f"{text.strip()!r}: {error.problem}"
        raise UsageError(FIELD, whole, problem, error.remedy) from error


def _clients_of(text: str, clients: int, whole: str) -> range:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise UsageError(FIELD, whole, f"{text!r} is not a range of clients", _WRITE)
    first, last = int(match["first"]), int(match["last"] or match["first"])
    if last < first:
        raise UsageError(FIELD, whole, f"the range {text} is empty", "give the smaller number first")
    _refuse_missing(last, clients, whole)
    return range(first, last + 1)


def _refuse_missing(client: int, clients: int, given: str) -> None:
    if client >= clients:
        there = f"0 to {clients - 1}" if clients > 1 else "0 alone"
        raise UsageError(FIELD, given, f"there is no client {client}", f"name clients {there}, or give more --clients")


def _table(path: Path, clients: int) -> tuple[dict[int, Client], float]:
    """Read a table of measured devices and links."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, NotRead) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(FIELD, path, f"cannot be read ({reason})", "give a readable CSV file") from error
    found: dict[int, Client] = {}
    server = DEVICES[SERVER]
    for line, row in _rows(content, path):
        speed = _speed(row["flops"], f"{FIELD} flops in line {line}")
        if row["client"] == SERVER:
            server = speed
            continue
        if not row["client"].isdigit():
            problem = f"has no client's number in line {line}"
            raise UsageError(FIELD, path, problem, f"number clients from 0, or write {SERVER}")
        client = int(row["client"])
        _refuse_missing(client, clients, str(path))
        if client in found:
            raise UsageError(FIELD, path, f"has client {client} twice", "give each client one row")
        up, down = (read_rate(row[way], f"{FIELD} {way} in line {line}") * 1e6 for way in ("up", "down"))
        link = Link(up, down, read_time(row["rtt"], f"{FIELD} rtt in line {line}"))
        found[client] = Client(speed, link, row["flops"])
    return found, server


def _rows(content: str, path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    reader = csv.DictReader(StringIO(content), skipinitialspace=True)
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(
            FIELD, path, f"has no column {missing[0]}", f"give the columns {', '.join(COLUMNS)} in the first line"
        )
    for row in reader:
        yield reader.line_num, {name: (row[name] or "").strip() for name in COLUMNS}


def _speed(text: str, where: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        return read_device(text, where)
    if not 0 < speed < float("inf"):
        raise UsageError(where, text, "is not above zero", "give operations per second")
    return speed


def _drawn(text: str, clients: int, seed: int) -> Fleet:
    """Draw speeds and rates: the median client is the one given, and logarithms have a standard deviation."""
    options = Spec.parse(FIELD, text).options(_OPTIONS, first="around")
    if "around" not in options:
        raise UsageError(FIELD, text, "has no device and link to draw around", "write it like lognormal:phone/4g")
    (flops, link, device), sigma = _device_and_link(options["around"], text), options.get("sigma", _SIGMA)
    draws = np.array([generator(seed, "devices", client).standard_normal(2) for client in range(clients)])
    speed, rate = np.exp(sigma * draws).T
    server = _named(read_device, options[SERVER], text) if SERVER in options else DEVICES[SERVER]
    rtt, devices = np.full(clients, link.rtt), (device,) * clients
    return Fleet(flops * speed, link.up * rate, link.down * rate, rtt, server, devices)


def _fleet(found: Mapping[int, Client], server: float, clients: int, given: str) -> Fleet:
    missing = next((client for client in range(clients) if client not in found), None)
    if missing is not None:
        raise UsageError(FIELD, given, f"gives client {missing} no device and link", _WRITE)
    each = [found[client] for client in range(clients)]
    table = np.array([(flops, link.up, link.down, link.rtt) for flops, link, _ in each], dtype=np.float64)
    flops, up, down, rtt = table.T
    return Fleet(flops, up, down, rtt, server, tuple(client.device for client in each))
