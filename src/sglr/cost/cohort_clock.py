"""The clock of a cohort's pass over its data: when each of its clients is ready, and what it waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sglr.core.events import Traffic
from sglr.cost.exchanged import samples_of
from sglr.cost.fleet import Figures
from sglr.cost.step_time import Speeds
from sglr.data.late import Attempt

Rows = NDArray[np.int64]
Place = slice | Rows

ALL = slice(None)
TOTALS = ("compute", "transfer", "waiting", "last")
"""What is added up of every client: seconds, and steps in which it was the last that arrived."""

ANSWERS = ("gradients", "average")
CHAIN = ("down", "backward", "forward", "up")
"""What a client does between two answers of the server, in this order."""

NEWEST_FIRST = CHAIN[::-1]


class OfAll(NamedTuple):
    """Seconds ``[n]`` of a step in which all clients are: most steps are so, and need no more.

    Parameters
    ----------
    before, after
        From when a client is ready until its smashed data are there; from the answer until it is ready again.
    computes, sends
        What it computes, and is sending and receiving.
    chain
        What it did before in the order of `CHAIN`, once it has been answered, ``[4, n]``.
    """

    before: Figures
    after: Figures
    computes: Figures
    sends: Figures
    chain: Figures


class Amounts(NamedTuple):
    """What n clients of a step do in it.

    Parameters
    ----------
    place
        Who they are.
    forward, backward, there, back
        Seconds that each computes and sends, and that the answer takes, ``[n]``.
    asked
        Seconds of an exchange within the step, ``[n]``; None without one.
    answered
        Whether the server answers.
    of_all
        Sums, where all clients of the cohort are in the step, are answered, and nothing is asked within it; else None.
    """

    place: Place
    forward: Figures
    backward: Figures
    there: Figures
    back: Figures
    asked: Figures | None
    answered: bool
    of_all: OfAll | None = None


class CohortClock:
    """Times of n clients that work together.

    Parameters
    ----------
    clients
        Their ids, ascending.
    speeds
        What each takes for everything.
    now
        When the pass begins, in seconds of the training.
    sums
        What was added up before: of each client, ``[4, n]``, and by phase; this clock adds to them.
    waits
        False where the server answers each client at once (``--batching clock``).
    """

    def __init__(
        self,
        clients: tuple[int, ...],
        speeds: Speeds,
        now: float,
        sums: tuple[Figures, dict[str, float]] | None = None,
        *,
        waits: bool = True,
    ) -> None:
        self.clients, self._speeds, self._waits = clients, speeds, waits
        self._rows = {client: row for row, client in enumerate(clients)}
        self._ready: Figures = np.full(len(clients), now)
        self._since = np.zeros((len(CHAIN), len(clients)))
        self._server = self._busy = now
        self._known: tuple[object, Amounts] | None = None
        self._chain: Figures | None = None
        self.totals, self.phases = (np.zeros((len(TOTALS), len(clients))), {}) if sums is None else sums

    def _place(self, clients: tuple[int, ...]) -> Place:
        if clients == self.clients:
            return ALL
        return np.array([self._rows[client] for client in clients], dtype=np.int64)

    def receive(self, sent: Traffic) -> None:
        """Let clients receive weights, which the server has now."""
        self._chain = None
        place, speeds = self._place(sent.clients), self._speeds
        took = speeds.one_way[place] + sent.sizes * speeds.down[place]
        ready = self._ready[place]
        self.totals[2, place] += np.maximum(self._server - ready, 0.0)
        self.totals[1, place] += took
        self._ready[place] = np.maximum(ready, self._server) + took
        self._since[:, place] = 0.0
        self._since[0, place] = took

    def send(self, sent: Traffic) -> None:
        """Let clients send weights; the server has merged them when all are there."""
        self._chain = None
        place, speeds = self._place(sent.clients), self._speeds
        took = speeds.one_way[place] + sent.sizes * speeds.up[place]
        arrives = self._ready[place] + took
        self.totals[1, place] += took
        self._since[3, place] += took
        merged = max(self._busy, float(arrives.max()))
        self._blame(place, arrives, merged)
        self.totals[2, place] += merged - arrives
        self._ready[place], self._server, self._busy = merged, merged, merged
        self._since[:, place] = 0.0

    def take(self, samples: int, sent: Sequence[Traffic], server_flops: float, attempt: Attempt | None = None) -> None:
        """Take a step with an exchange.

        Parameters
        ----------
        samples
            Of all clients together; each has as many of them as its share of the labels that are sent.
        sent
            What crossed the cut, each kind of all clients together.
        server_flops
            The server's operations.
        attempt
            Who was late, and how long they were waited for; None where everyone is waited for.
        """
        now = self._amounts(sent, samples)
        if now.of_all is not None and self._waits and (attempt is None or attempt.on_time):
            self._take_of_all(now.of_all, server_flops * self._speeds.server)
            return
        self._chain = None
        place, forward, backward, there, back, asked = now[:6]
        arrives, took = self._ready[place] + forward + there, server_flops * self._speeds.server
        self.totals[0, place] += forward + backward
        since = self._since
        since[2, place] += forward
        since[3, place] += there
        if not now.answered:
            self.totals[1, place] += there
            self._since[1, place] += backward
            self._ready[place] = arrives + backward
            self._busy = max(self._busy, float(arrives.max())) + took
            return
        ends = self._answer(place, arrives, took, asked, 0.0 if attempt is None else attempt.patience)
        if attempt is not None and attempt.late.any():
            self._lose(attempt)
        self.totals[1, place] += there + back
        self.totals[2, place] += ends - arrives
        self._ready[place] = ends + back + backward
        if self._waits:
            self._since[:, place] = 0.0
        self._since[0, place] += back
        self._since[1, place] += backward

    def _take_of_all(self, step: OfAll, took: float) -> None:
        """Take a step that needs no more than `OfAll`, as `take` does."""
        arrives = self._ready + step.before
        last = int(arrives.argmax())
        there = float(arrives[last])
        over = max(there, self._busy) + took
        totals = self.totals
        totals[0] += step.computes
        totals[1] += step.sends
        totals[2] += over - arrives
        if len(arrives) > 1:
            totals[3, last] += 1
        down, backward, forward, up = step.chain[:, last].tolist()
        if self._chain is not step.chain:  # the step before was of another kind
            down, backward, *more = self._since[:, last].tolist()
            forward, up = forward + more[0], up + more[1]
            self._since[:2] = step.chain[:2]
            self._since[2:] = 0.0
            self._chain = step.chain
        self._spread(there - self._server, up, forward, backward, down)
        self._add("server", over - max(there, self._server))
        self._server = self._busy = over
        self._ready = over + step.after

    def _amounts(self, sent: Sequence[Traffic], samples: int) -> Amounts:
        """Return what each client of a step does in it; most steps are as the one before."""
        key = samples, *((one.kind, one.clients, one.sizes.tobytes()) for one in sent)
        if self._known is None or self._known[0] != key:
            self._known = key, self._counted(sent, samples)
        return self._known[1]

    def _counted(self, sent: Sequence[Traffic], samples: int) -> Amounts:
        speeds, place = self._speeds, self._place(sent[0].clients)
        up, down, asked = self._bytes(place, sent)
        count = samples_of(sent, samples)
        forward, backward = count * speeds.forward[place], count * speeds.backward[place]
        there = speeds.one_way[place] + up * speeds.up[place]
        back = speeds.one_way[place] + down * speeds.down[place]
        answered, of_all = any(not one.up and one.kind in ANSWERS for one in sent), None
        if answered and asked is None and isinstance(place, slice):
            chain = np.stack([back, backward, forward, there])
            of_all = OfAll(forward + there, back + backward, forward + backward, there + back, chain)
        return Amounts(place, forward, backward, there, back, asked, answered, of_all)

    def _lose(self, attempt: Attempt) -> None:
        """Let clients send batches that come too late for anyone."""
        place, speeds, late = np.flatnonzero(attempt.late), self._speeds, attempt.late
        computed = late[place] * speeds.forward[place]
        sent = speeds.one_way[place] + late[place] * attempt.up[place]
        self.totals[0, place] += computed
        self.totals[1, place] += sent
        self._since[2, place] += computed
        self._since[3, place] += sent
        self._ready[place] += computed + sent

    def _answer(
        self, place: Place, arrives: Figures, took: float, asked: Figures | None, patience: float
    ) -> Figures | float:
        """Return when the server answers, for all who are in the step or for each ``[n]``, and note whom it waited for.

        ``asked`` are seconds of an exchange within the step: features go down, gradients by them come up. ``patience``
        is how long after its last answer the server waits, since some who are late do not come.
        """
        if not self._waits:
            ends = arrives + took / len(arrives)
            self._busy = max(self._busy, float(ends.max()))
            return ends
        there = max(float(arrives.max()), self._busy)
        begins = max(there, self._busy + patience)
        over = begins + took + (0.0 if asked is None else float(asked.max()))
        self._blame(place, arrives, over - (begins - there))
        self._add("waiting", begins - there)
        self._server = self._busy = over
        return over

    def alone(self, samples: Rows) -> None:
        """Take a step in which clients train alone, on so many samples each, ``[n]``."""
        self._chain = None
        forward, backward = samples * self._speeds.forward, samples * self._speeds.backward
        self.totals[0] += forward + backward
        self._since[2] += forward
        self._since[1] += backward
        self._ready += forward + backward

    def _bytes(self, place: Place, sent: Sequence[Traffic]) -> tuple[Figures, Figures, Figures | None]:
        """Return bytes up and down of those in a step, and seconds of a second exchange within it (U-shape)."""
        there, speeds = sent[0].clients, self._speeds
        up, down = np.zeros(len(there)), np.zeros(len(there))
        rows = self._rows if isinstance(place, slice) else {client: row for row, client in enumerate(there)}
        asked: Figures | None = None
        for one in sent:
            if one.kind in ("features", "feature_gradients"):
                rate = speeds.up if one.up else speeds.down
                part = speeds.one_way[place] + one.sizes * rate[place]
                asked = part if asked is None else asked + part
                continue
            into = up if one.up else down
            if one.clients == there:
                into += one.sizes
            else:
                into[[rows[client] for client in one.clients]] += one.sizes
        return up, down, asked

    def _blame(self, place: Place, arrives: Figures, until: float) -> None:
        """Attribute the time since the server's last answer to what the last client did in it, and then the server."""
        last = int(arrives.argmax())
        row = last if isinstance(place, slice) else int(place[last])
        if len(arrives) > 1:
            self.totals[3, row] += 1
        self._spread(float(arrives[last]) - self._server, *self._since[::-1, row].tolist())
        self._add("server", until - max(float(arrives[last]), self._server))

    def _spread(self, left: float, *newest_first: float) -> None:
        """Attribute ``left`` seconds to what a client did in them, the last in `CHAIN` first."""
        for phase, seconds in zip(NEWEST_FIRST, newest_first, strict=True):
            if left <= 0:
                return
            self._add(phase, min(left, seconds))
            left -= seconds
        self._add("waiting", left)

    def _add(self, phase: str, seconds: float) -> None:
        if seconds > 0:
            self.phases[phase] = self.phases.get(phase, 0.0) + seconds

    def end(self) -> float:
        """End the pass when the last client is ready; return when that is."""
        row = int(self._ready.argmax())
        ready = max(self._server, float(self._ready[row]))
        self._spread(ready - self._server, *self._since[::-1, row].tolist())
        over = max(ready, self._busy)
        self._add("server", over - ready)
        self.totals[2] += over - self._ready
        self._ready[:], self._server, self._busy = over, over, over
        return over

    def state(self) -> dict[str, Any]:
        """Return the part of a checkpoint that is JSON; who made it keeps the sums."""
        return {"server": self._server, "busy": self._busy}

    def table(self) -> Figures:
        """Return the part of a checkpoint that grows with the clients, ``[5, n]``."""
        return np.concatenate([self._ready[None], self._since])

    def restore(self, state: Mapping[str, Any], table: Figures) -> None:
        """Take up what `state` and `table` returned."""
        self._server, self._busy = float(state["server"]), float(state["busy"])
        self._ready, self._since, self._chain = table[0].copy(), table[1:].copy(), None
