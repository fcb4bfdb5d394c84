"""The clock of a cohort whose clients run batches ahead of their gradients (``--pipelining N``).

A client's processor, each direction of its link, and the server do one thing after another, each in the order of the
steps; they work side by side. With N batches ahead, step t of client i, with the notation of `sglr.cost.step_time`:

    p_i  = end of the pass back of step t - N - 1 (for t <= N: of the pass forward of step t - 1), then + n_i f / F_i
    x_i  = max(x_i, p_i) + u_i / U_i                         the link up is free again
    B    = max(E, max_i x_i + ρ_i / 2),  E = B + f_s / F_s   the server begins and ends
    y_i  = max(y_i, E) + d_i / V_i                           the link down is free again
    g_i  = y_i + ρ_i / 2                                     the gradient is there

and the pass back of step t begins when g_i has come and the client has run step t + N forward. With N = 0 it is a step
of `sglr.cost.cohort_clock`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sglr.core.events import Traffic
from sglr.cost.cohort_clock import CohortClock, Rows
from sglr.cost.fleet import Figures
from sglr.cost.step_time import Speeds
from sglr.data.late import Attempt

PHASES = ("down", "backward", "forward", "up", "server")
"""Of what the seconds of a moment consist, in the rows of a moment after the first."""

DOWN, BACKWARD, FORWARD, UP, SERVER = range(1, 1 + len(PHASES))
ROWS = 1 + len(PHASES)


class Answer(NamedTuple):
    """A step's gradients on their way to the clients, of all clients ``[n]``; who had no batch gets none.

    Parameters
    ----------
    there
        The moment when they are there, ``[6, n]``.
    sent
        When the server sent them, in seconds.
    backward
        Seconds that the pass back takes, ``[n]``.
    """

    there: Figures
    sent: float
    backward: Figures


class PipelinedClock(CohortClock):
    """Times of n clients that run N batches ahead of their gradients.

    A moment is a column of six figures: its time, and the seconds by phase of the longest chain of work that led to it,
    since the pass began. So phases are what the training waited for, and add up to its time.

    Parameters
    ----------
    clients, speeds, now, sums
        As of `CohortClock`.
    ahead
        N.
    """

    def __init__(
        self,
        clients: tuple[int, ...],
        speeds: Speeds,
        now: float,
        sums: tuple[Figures, dict[str, float]] | None = None,
        *,
        ahead: int,
    ) -> None:
        super().__init__(clients, speeds, now, sums)
        begins = np.zeros((ROWS, len(clients)))
        begins[0] = now
        self._ahead = ahead
        self._client, self._uplink, self._downlink = begins, begins.copy(), begins.copy()
        self._at_server = begins[:, 0].copy()
        self._arrived = begins[0].copy()
        self._answers: deque[Answer] = deque()

    def receive(self, sent: Traffic) -> None:
        """Let clients receive weights, which the server has now."""
        place, speeds = self._place(sent.clients), self._speeds
        took = speeds.one_way[place] + sent.sizes * speeds.down[place]
        own = self._client[:, place]
        self.totals[2, place] += np.maximum(self._at_server[0] - own[0], 0.0)
        self.totals[1, place] += took
        self._client[:, place] = _after(_later(own, self._at_server[:, None]), DOWN, took)

    def send(self, sent: Traffic) -> None:
        """Let clients send weights when they have gone back; the server has merged them when all are there."""
        self._drain()
        place, speeds = self._place(sent.clients), self._speeds
        took = speeds.one_way[place] + sent.sizes * speeds.up[place]
        arrives = _after(self._client[:, place], UP, took)
        self.totals[1, place] += took
        self._wait_for(arrives, place)
        self.totals[2, place] += self._at_server[0] - arrives[0]
        self._client[:, place] = self._at_server[:, None]

    def alone(self, samples: Rows) -> None:
        """Do nothing: clients that run ahead have no steps alone."""

    def take(self, samples: int, sent: Sequence[Traffic], server_flops: float, attempt: Attempt | None = None) -> None:
        """Take a step, as `CohortClock.take`; everyone is waited for."""
        del attempt
        if len(self._answers) > self._ahead:
            self._go_back()
        now, speeds = self._amounts(sent, samples), self._speeds
        place, one_way = now.place, speeds.one_way[now.place]
        computed = _after(self._client[:, place], FORWARD, now.forward)
        self._client[:, place] = computed
        self.totals[0, place] += now.forward
        self._uplink[:, place] = _after(_later(self._uplink[:, place], computed), UP, now.there - one_way)
        arrives = _after(self._uplink[:, place], UP, one_way)
        self._arrived[place] = arrives[0]
        self._wait_for(arrives, place)
        self._at_server = _after(self._at_server, SERVER, server_flops * speeds.server)
        down = _later(self._downlink[:, place], self._at_server[:, None])
        self._downlink[:, place] = _after(down, DOWN, now.back - one_way)
        there, backward = np.zeros_like(self._client), np.zeros(len(self.clients))
        there[0] = -np.inf
        there[:, place] = _after(self._downlink[:, place], DOWN, one_way)
        backward[place] = now.backward
        self._answers.append(Answer(there, float(self._at_server[0]), backward))

    def _wait_for(self, arrives: Figures, place: slice | Rows) -> None:
        """Let the server wait for what arrives, ``[6, n]``, and note who is the last."""
        last = int(arrives[0].argmax())
        if len(arrives[0]) > 1:
            self.totals[3, last if isinstance(place, slice) else int(place[last])] += 1
        if arrives[0, last] > self._at_server[0]:
            self._at_server = arrives[:, last].copy()

    def _go_back(self) -> None:
        """Let clients go back with the oldest gradients that are on their way.

        Of the time in which a client computes nothing, some batch or gradient of its own is on its way for a part.
        """
        answer, own = self._answers.popleft(), self._client
        idle = np.maximum(answer.there[0] - own[0], 0.0)
        sending = np.maximum(self._arrived - own[0], 0.0)
        moving = np.minimum(idle, np.maximum(sending + (answer.there[0] - answer.sent), 0.0))
        self.totals[0] += answer.backward
        self.totals[1] += moving
        self.totals[2] += idle - moving
        self._client = _after(_later(own, answer.there), BACKWARD, answer.backward)

    def _drain(self) -> None:
        while self._answers:
            self._go_back()

    def end(self) -> float:
        """End the pass when the last client has gone back with its last gradient; return when that is."""
        self._drain()
        own = self._client
        last = own[:, int(own[0].argmax())]
        over = last if last[0] >= self._at_server[0] else self._at_server
        self.totals[2] += over[0] - own[0]
        for phase, seconds in zip(PHASES, over[1:].tolist(), strict=True):
            self._add(phase, seconds)
        ends = float(over[0])
        begins = np.zeros_like(own)
        begins[0] = ends
        self._client, self._uplink, self._downlink = begins, begins.copy(), begins.copy()
        self._at_server, self._arrived = begins[:, 0].copy(), begins[0].copy()
        return ends

    def state(self) -> dict[str, Any]:
        """Return the part of a checkpoint that is JSON."""
        return {"server": self._at_server.tolist(), "sent": [answer.sent for answer in self._answers]}

    def table(self) -> Figures:
        """Return the part of a checkpoint that grows with the clients, ``[19 + 7 k, n]`` with k steps on their way."""
        held = [self._client, self._uplink, self._downlink, self._arrived[None]]
        under_way = [part for answer in self._answers for part in (answer.there, answer.backward[None])]
        return np.concatenate([*held, *under_way])

    def restore(self, state: Mapping[str, Any], table: Figures) -> None:
        """Take up what `state` and `table` returned."""
        self._at_server = np.array(state["server"], dtype=np.float64)
        self._client, self._uplink, self._downlink = (table[at : at + ROWS].copy() for at in (0, ROWS, 2 * ROWS))
        self._arrived = table[3 * ROWS].copy()
        first, each = 3 * ROWS + 1, ROWS + 1
        self._answers = deque(
            Answer(table[at : at + ROWS].copy(), float(sent), table[at + ROWS].copy())
            for sent, at in zip(state["sent"], range(first, len(table), each), strict=True)
        )


def _later(one: Figures, other: Figures) -> Figures:
    """Return the later of two moments, of each column."""
    found: Figures = np.where(one[0] >= other[0], one, other)
    return found


def _after(moment: Figures, phase: int, seconds: Figures | float) -> Figures:
    """Return moments that come some seconds of a phase after others."""
    found = moment.copy()
    found[0] += seconds
    found[phase] += seconds
    return found
