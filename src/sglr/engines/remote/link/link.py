"""How a link is described, ``rtt=100ms,rate=20Mbit,jitter=10ms,loss=1%``, and when bytes that enter it come out."""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass, field
from typing import Self

from sglr.core.errors import UsageError
from sglr.core.spec import Option, Spec
from sglr.cost.units import read_rate, read_time

NONE = "none"
"""What says that connections are left as they are."""

PACKET = 1448
"""Bytes of a TCP segment on Ethernet."""

LONGEST_RTT, LEAST_RATE = 5.0, 1250.0
"""Seconds, and bytes a second (10 kbit/s): beyond, a TLS handshake does not come to its end in time."""

WRITE = "write it like rtt=100ms,rate=20Mbit, with jitter and loss if wanted; or none"
_KNOWN = {
    "rtt": Option(str, "time there and back, such as 100ms"),
    "rate": Option(str, "of each direction, such as 20Mbit"),
    "jitter": Option(str, "by how much the rtt varies, such as 10ms"),
    "loss": Option(str, "share of packets that are sent twice, such as 1%"),
}
_CLIENTS = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?")


@dataclass(frozen=True)
class Link:
    """What a client's link to the server is like; both directions are alike.

    Parameters
    ----------
    rtt
        Seconds there and back of a message without length.
    rate
        Bytes per second of each direction; infinite for no bound.
    jitter
        Seconds: the round trip is drawn from ``rtt - jitter`` to ``rtt + jitter``. What was sent first arrives first.
    loss
        Share of packets that are lost. TCP sends each of them again: it arrives a round trip later, and what follows
        waits for it.
    text
        As it was written.
    """

    rtt: float = 0.0
    rate: float = math.inf
    jitter: float = 0.0
    loss: float = 0.0
    text: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``rtt=…,rate=…``, with ``jitter`` and ``loss`` if wanted.

        Raises
        ------
        UsageError
            If an option is unknown, missing its unit, or outside what a link can be.
        """
        bare = next((word.strip() for word in text.split(",") if word.strip() and "=" not in word), None)
        if bare is not None:
            raise UsageError("link", text, f"{bare!r} is not key=value", WRITE)
        given = Spec.parse_options("link", text).options(_KNOWN)
        if not given:
            raise UsageError("link", text, "it says nothing", WRITE)
        rtt, jitter = (read_time(given.get(key, "0"), f"link: {key}") for key in ("rtt", "jitter"))
        rate = 1e6 * read_rate(given["rate"], "link: rate") if "rate" in given else math.inf
        loss = _share(given["loss"]) if "loss" in given else 0.0
        if rtt > LONGEST_RTT:
            problem, remedy = f"no handshake succeeds within a server's time at an rtt of {rtt:g} s", "give 5s or less"
        elif rate < LEAST_RATE:
            problem, remedy = "no handshake succeeds within a server's time at such a rate", "give 10kbit or more"
        elif jitter > rtt:
            problem, remedy = (
                "the jitter is greater than the rtt: messages would arrive before they are sent",
                "swap them",
            )
        elif loss and not rtt:
            problem, remedy = "a loss costs a round trip, and the rtt is 0", "give an rtt, or leave out the loss"
        else:
            return cls(rtt, rate, jitter, loss, text.strip())
        raise UsageError("link", text, problem, remedy)


def _share(text: str) -> float:
    """Read ``1%`` or ``0.01``."""
    number, percent = text.removesuffix("%").strip(), text.endswith("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = math.nan
    if not 0 <= share < 1:
        raise UsageError("link: loss", text, "not a share of packets", "write it like 1% or 0.01, below 100%")
    return share


def read_links(text: str, clients: int) -> dict[int, Link]:
    """Return the link of every client that has one.

    Parameters
    ----------
    text
        One link, for all clients; or links of some, ``0-4=rtt=100ms;5=rtt=20ms,rate=1Mbit``, where one without
        numbers is that of the others. ``none`` is no link.
    clients
        |C|, how many there are.

    Raises
    ------
    UsageError
        If a link makes no sense, or a client does not exist or has two.
    """
    if text.strip() in (NONE, ""):
        return {}
    others: Link | None = None
    found: dict[int, Link] = {}
    for part in filter(str.strip, text.split(";")):
        numbers, _, described = part.partition("=")
        match = _CLIENTS.fullmatch(numbers)
        if match is None:
            if others is not None:
                raise UsageError(
                    "link", text, "two links are for all other clients", "begin one with numbers, as in 0-4="
                )
            others = Link.parse(part)
            continue
        link = Link.parse(described)
        for client in _numbers(text, match, clients):
            if client in found:
                raise UsageError("link", text, f"client {client} has two links", "give it one")
            found[client] = link
    return found if others is None else {client: found.get(client, others) for client in range(clients)}


def _numbers(text: str, match: re.Match[str], clients: int) -> range:
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise UsageError("link", text, f"{first}-{last} are no clients", f"write {last}-{first}")
    if last >= clients:
        raise UsageError("link", text, f"there is no client {last}", f"there are {clients}, 0 to {clients - 1}")
    return range(first, last + 1)


class Direction:
    """One direction of a link: says when what is sent leaves the sender, and when it arrives.

    Parameters
    ----------
    link
        The link.
    rng
        Draws jitter and losses.
    """

    def __init__(self, link: Link, rng: random.Random) -> None:
        self._link, self._rng = link, rng
        self._free = self._last = 0.0

    def send(self, now: float, size: int) -> tuple[float, float]:
        """Return when the last of some bytes has left the sender, and when it arrives, behind all that was sent before.

        Parameters
        ----------
        now
            Seconds, by a clock that never goes back.
        size
            Bytes.
        """
        link = self._link
        self._free = max(self._free, now) + size / link.rate
        delay = (link.rtt + link.jitter * self._rng.uniform(-1, 1)) / 2
        packets = math.ceil(size / PACKET)
        if link.loss and self._rng.random() < 1 - (1 - link.loss) ** packets:
            delay += link.rtt
        self._last = max(self._last, self._free + delay)
        return self._free, self._last
