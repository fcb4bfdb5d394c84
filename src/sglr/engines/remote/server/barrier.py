"""Which clients a step waits for, and how long: deadlines, the quorum, misses, and clients that lost their session."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from sglr.core.engine import LostClients
from sglr.core.errors import Interrupted
from sglr.engines.remote.server.client_state import AWAY, HERE, NEVER, ClientState
from sglr.engines.remote.server.connections import ConnectionServer
from sglr.engines.remote.wire.frames import Frame
from sglr.runs.config import Experiment

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
"""How often a wait checks whether the user wants to stop."""

STOP_SECONDS = 2.0
"""How long a step may still take once the user wants to stop."""

STILL_SECONDS = 2.0
"""A longer gap between two checks means that this process was suspended, or its machine slept."""

NOTICE_SECONDS = 1.0
"""How long a wait lasts before the status shows it."""

TELL_SECONDS = 15.0
"""How often a long wait is logged."""


@dataclass(frozen=True)
class Patience:
    """How long clients are waited for.

    Parameters
    ----------
    deadline
        Seconds until a step goes on without late clients; None waits for all that joined, and goes back to a
        checkpoint when one of them lost its session.
    min_clients
        Fewest clients to go on with; None means one.
    max_misses
        Deadlines missed in a row after which a client is no longer waited for.
    """

    deadline: float | None = None
    min_clients: int | None = None
    max_misses: int = 10

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Read it from an experiment's settings."""
        return cls(experiment.step_deadline, experiment.min_clients, experiment.max_misses)

    @property
    def strict(self) -> bool:
        """True if every client that joined is waited for."""
        return self.deadline is None


class Deadline:
    """A deadline, moved back by the time for which this process was suspended.

    Parameters
    ----------
    seconds
        From now; None means never.
    least_seconds
        The deadline is at least so many seconds from now.
    """

    def __init__(self, seconds: float | None, least_seconds: float = 0.0) -> None:
        self._looked = time.monotonic()
        self._until = float("inf") if seconds is None else self._looked + max(seconds, least_seconds)

    def passed(self) -> bool:
        """Return whether it has passed; to be called every `LOOK_SECONDS`."""
        now = time.monotonic()
        if (still := now - self._looked) > STILL_SECONDS:
            self._until += still
        self._looked = now
        return now >= self._until


class Barrier:
    """Waits for clients' answers.

    Parameters
    ----------
    connections
        The clients.
    patience
        How long to wait.
    should_stop
        Called regularly; True stops waiting.
    """

    def __init__(self, connections: ConnectionServer, patience: Patience, should_stop: Callable[[], bool]) -> None:
        self.connections, self.patience, self.should_stop = connections, patience, should_stop
        self.waiting_for = ""
        self._since = 0.0

    @property
    def long_waited_for(self) -> str:
        """Which clients it has been waiting for longer than `NOTICE_SECONDS`; empty if none."""
        return self.waiting_for if time.monotonic() - self._since > NOTICE_SECONDS else ""

    def joined(self, fewest: int) -> None:
        """Wait until so many clients have joined."""

        def over() -> bool:
            there = sum(one.counts for one in self.connections.states)
            self.waiting_for = "" if there >= fewest else f"{fewest - there} of {fewest} clients to join"
            return there >= fewest

        self._until(over, f"{fewest} clients to join")

    def back(self, clients: Iterable[int]) -> None:
        """Wait until these clients have joined again, or as many of them as the run needs."""
        states = [self.connections.states[client] for client in sorted(clients)]
        fewest = len(states)
        if not self.patience.strict:
            fewest = min(fewest, self.patience.min_clients or fewest)

        def over() -> bool:
            missing = [one for one in states if one.presence == NEVER]
            enough = len(states) - len(missing) >= fewest
            self.waiting_for = "" if enough else f"{_names(missing)} to come back"
            return enough

        self._until(over, "clients to come back")

    def answers(
        self,
        asked: Mapping[int, int],
        again: Callable[[int], int],
        answer: str,
        *,
        least_seconds: float = 0.0,
    ) -> dict[int, Frame]:
        """Wait for the answers to requests.

        Parameters
        ----------
        asked
            Request numbers by client.
        again
            Repeats the request to a client that lost only the request; returns its new number.
        answer
            The kind of the answer.
        least_seconds
            Least seconds until the deadline, for requests that take longer than a step.

        Returns
        -------
        dict
            The answers of the clients that are present, by client, ascending.

        Raises
        ------
        LostClients
            If all clients are waited for, and one came back without its session.
        """
        deadline = Deadline(self.patience.deadline, least_seconds)
        states = {client: self.connections.states[client] for client in sorted(asked)}
        absent: set[int] = set()
        asked = dict(asked)

        def over() -> bool:
            too_late = deadline.passed()
            self._pass_over_lost(states, absent)
            awaited = [one for client, one in states.items() if one.counts and client not in absent]
            here = [one for one in awaited if asked[one.client] in one.answers]
            late = [one for one in awaited if asked[one.client] not in one.answers]
            for one in late:
                if one.presence == HERE and asked[one.client] not in one.unanswered:
                    asked[one.client] = again(one.client)
                    self.connections.expect(asked)
            self.waiting_for = _names(late)
            if not late:
                # A client that skips this request because it lost its session counts as present.
                there = len(here) + sum(states[client].counts for client in absent)
                return there >= self._fewest(states) or not awaited
            if not too_late or len(here) < self._fewest(states):
                return False
            absent.update(one.client for one in late)
            self._note_late(late)
            return True

        self.connections.expect(asked)
        self._until(over, f"the clients' {answer}")
        return self._take(states, asked, absent)

    def _fewest(self, states: Mapping[int, ClientState]) -> int:
        return min(self.patience.min_clients or 1, len(states))

    def _pass_over_lost(self, states: Mapping[int, ClientState], absent: set[int]) -> None:
        for client, state in states.items():
            if not state.lost:
                continue
            if self.patience.strict:
                raise LostClients(f"client {client} lost what it did since the last checkpoint")
            # It continues from its own newest snapshot, at the next step.
            state.lost = False
            absent.add(client)

    def _note_late(self, late: list[ClientState]) -> None:
        for state in late:
            state.expire()
            state.misses += 1
            state.absences += 1
            self.connections.metrics.absent(state.client)
            log.info(
                "client %d missed a deadline",
                state.client,
                extra={"client": state.client, "event": "absent"},
            )
            if state.misses >= self.patience.max_misses:
                self.connections.drop(state.client, f"missed {state.misses} deadlines in a row")

    def _take(self, states: Mapping[int, ClientState], asked: Mapping[int, int], absent: set[int]) -> dict[int, Frame]:
        found = {}
        with self.connections.changed:
            for client, state in states.items():
                frame = state.answers.pop(asked[client], None)
                if frame is not None and client not in absent and state.counts:
                    state.misses = 0
                    found[client] = frame
        return found

    def _until(self, over: Callable[[], bool], what: str) -> None:
        told, stopped = time.monotonic(), None
        self._since = told
        with self.connections.changed:
            while not over():
                if self.should_stop():
                    stopped = stopped or time.monotonic()
                    # Mostly the step is over soon, and the run ends with a checkpoint.
                    if time.monotonic() - stopped > STOP_SECONDS:
                        raise Interrupted(f"stopped while waiting for {self.waiting_for or what}")
                if time.monotonic() - told > TELL_SECONDS:
                    told = time.monotonic()
                    log.warning("waiting for %s", self.waiting_for or what, extra={"event": "waiting"})
                self.connections.changed.wait(LOOK_SECONDS)
        self.waiting_for = ""


def _names(states: list[ClientState]) -> str:
    shown = [f"client {one.client}{' (away)' if one.presence == AWAY else ''}" for one in states[:5]]
    return ", ".join(shown) + (f" and {len(states) - 5} more" if len(states) > 5 else "")
