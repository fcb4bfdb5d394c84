"""The clients of a run as rows: of a server between sites from its status, else from what the run recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sglr.live.plain_values import mapping, mappings, number, text
from sglr.sites.status import slow_clients

COLUMNS = (
    "client",
    "state",
    "samples",
    "rate",
    "answer_ms",
    "round_trip_ms",
    "absences",
    "rejected",
    "up_bytes",
    "down_bytes",
    "remark",
    "score",
)
"""What a row holds, in this order. ``rate`` is bytes per second, both directions, since the status before."""

MOST = 5000
"""Rows that are shown at most."""

Row = list[Any]


class ConnectedClients:
    """Makes rows of a server's status, and remembers the status before, for rates."""

    def __init__(self) -> None:
        self._before: dict[int, float] = {}
        self._rates: dict[int, float] = {}
        self._at: float | None = None

    def rows(self, status: Mapping[str, Any], *, moving: bool = True) -> list[Row]:
        """Return a row for every client, ascending; rates only if the run is ``moving``."""
        told = mappings(status.get("clients"), MOST)
        known = {one["client"]: one for one in told if type(one.get("client")) is int}
        self._measure(known, number(status.get("updated")))
        slow = _slow(list(known.values()))
        rates = self._rates if moving else {}
        return [_row(one, rates.get(client), client in slow) for client, one in sorted(known.items())]

    def _measure(self, clients: Mapping[int, Mapping[str, Any]], at: float | None) -> None:
        """Find the rates anew if the status is a newer one."""
        if at is None or at == self._at:
            return
        now = {client: _bytes(one) for client, one in clients.items()}
        if self._at is not None and at > self._at:
            seconds = at - self._at
            # A server that was started again counts from zero.
            self._rates = {
                client: max(0.0, total - self._before[client]) / seconds
                for client, total in now.items()
                if client in self._before
            }
        self._before, self._at = now, at


def simulated_clients(
    classes: Mapping[str, Any], test: Mapping[str, Any], score: str, progress: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the clients of a run in one process as a server would tell them: samples, bytes, and the test's scores.

    Parameters
    ----------
    classes
        What ``classes.json`` holds: the samples of every client and class.
    test
        The test in the summary; empty before.
    score
        The name of the headline score.
    progress
        What ``progress.json`` holds: each client's bytes while it trains.
    """
    counts, sent = classes.get("counts"), mapping(progress.get("clients"))
    samples = [sum(_numbers(one)) for one in counts[:MOST]] if isinstance(counts, list) else []
    # Where clients were drawn for the test, or one stands for all, scores don't tell whose they are.
    told = {
        "samples": samples,
        "score": _of_each(mapping(test.get("per_client")).get(score), len(samples)),
        **{name: _of_each(sent.get(name), len(samples)) for name in ("up_bytes", "down_bytes")},
    }
    clients = [
        {"client": client, "state": "simulated", **{name: values[client] for name, values in told.items()}}
        for client in range(len(samples))
    ]
    return {"clients": clients, "updated": progress.get("updated")}


def _of_each(values: object, clients: int) -> Sequence[object]:
    return values if isinstance(values, list) and len(values) == clients else [None] * clients


def counted(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many clients are in every state."""
    found: dict[str, int] = {}
    for row in rows:
        found[row[1]] = found.get(row[1], 0) + 1
    return found


def _row(one: Mapping[str, Any], rate: float | None, slow: bool) -> Row:
    return [
        number(one.get("client")),
        text(one.get("state"), 20) or "?",
        number(one.get("samples")),
        None if rate is None else round(rate),
        _tenths(one.get("answer_ms")),
        _tenths(one.get("round_trip_ms")),
        *(number(one.get(name)) for name in ("absences", "rejected", "up_bytes", "down_bytes")),
        "; ".join(_remarks(one, slow)),
        number(one.get("score")),
    ]


def _tenths(value: object) -> float | None:
    found = number(value)
    return None if found is None else round(found, 1)


def _remarks(one: Mapping[str, Any], slow: bool) -> list[str]:
    misses, extreme = number(one.get("misses")), number(one.get("extreme"))
    found = ["slow: other clients wait for it"] if slow else []
    found += [text(one.get("reason"))] if one.get("reason") else []
    found += [f"missed {misses:g} deadlines in a row"] if misses else []
    found += [f"absent for its numbers: {text(one.get('remark'))}"] if extreme else []
    return found


def _slow(clients: Sequence[Mapping[str, Any]]) -> set[int]:
    """Return the slow clients; the medians of others cost too much with more than some hundred."""
    timed = [one for one in clients if number(one.get("answer_ms")) is not None]
    return slow_clients(timed) if len(timed) <= 64 else _slow_of_many(timed)


def _slow_of_many(clients: Sequence[Mapping[str, Any]]) -> set[int]:
    from statistics import median

    from sglr.sites.status import SLOW

    typical = median(float(one["answer_ms"]) for one in clients)  # one client of many does not move it
    return {one["client"] for one in clients if float(one["answer_ms"]) > SLOW * typical}


def _bytes(one: Mapping[str, Any]) -> float:
    return float((number(one.get("up_bytes")) or 0) + (number(one.get("down_bytes")) or 0))


def _numbers(values: object) -> list[int]:
    return [int(found) for one in values if (found := number(one)) is not None] if isinstance(values, list) else []
