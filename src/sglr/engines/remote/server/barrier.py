"""Whom a step waits for, and how long: deadlines, the quorum, misses, and clients that lost their memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from sglr.core.engine import LostClients
from sglr.core.errors import Interrupted
from sglr.engines.remote.server.client_state import AWAY, HERE, NEVER, ClientState
from sglr.engines.remote.server.connections import ConnectionServer
from sglr.engines.remote.wire.frames import Frame

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
"""How often a wait looks whether the user wants to stop."""

STOP_SECONDS = 2.0
"""How long a step may still take once the user wants to stop."""

STILL_SECONDS = 2.0
"""After how long without a look it stood still, as when it was stopped, or its machine slept."""

NOTICE_SECONDS = 1.0
"""How long a wait is before it is worth mentioning."""

TELL_SECONDS = 15.0
"""How often a long wait says whom it is for."""


@dataclass(frozen=True)
class Patience:
    """Whom to wait for.

    Parameters
    ----------
    deadline
        Seconds until a step goes on without who is late; None waits for everyone who joined, and goes back to a
        checkpoint when one of them lost its memory.
    min_clients
        Fewest clients to go on with; None is one.
    max_misses
        Deadlines missed in a row until a client is no longer waited for.
    """

    deadline: float | None = None
    min_clients: int | None = None
    max_misses: int = 10

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Read it from an experiment's settings."""
        known = {name: settings[name] for name in ("min_clients", "max_misses") if name in settings}
        return cls(settings.get("step_deadline"), **known)

    @property
    def strict(self) -> bool:
        """True if nobody who joined is ever left behind."""
        return self.deadline is None


class Deadline:
    """A moment that is put off by as long as this process itself stood still: others were not late meanwhile.

    Parameters
    ----------
    seconds
        From now; None is never.
    least_seconds
        It is at least so late.
    """

    def __init__(self, seconds: float | None, least_seconds: float = 0.0) -> None:
        self._looked = time.monotonic()
        self._until = float("inf") if seconds is None else self._looked + max(seconds, least_seconds)

    def passed(self) -> bool:
        """Say whether it is past; to be asked every `LOOK_SECONDS`."""
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
        Whom to wait for.
    should_stop
        Asked now and then whether to stop waiting.
    """

    def __init__(self, connections: ConnectionServer, patience: Patience, should_stop: Callable[[], bool]) -> None:
        self.connections, self.patience, self.should_stop = connections, patience, should_stop
        self.waiting_for = ""
        self._since = 0.0

    @property
    def long_waited_for(self) -> str:
        """Whom it has been waiting for so long that it is worth mentioning; empty if nobody."""
        return self.waiting_for if time.monotonic() - self._since > NOTICE_SECONDS else ""

    def joined(self, fewest: int) -> None:
        """Wait until so many clients have joined."""

        def over() -> bool:
            there = sum(one.counts for one in self.connections.states)
            self.waiting_for = "" if there >= fewest else f"{fewest - there} of {fewest} clients to join"
            return there >= fewest

        self._until(over, f"{fewest} clients to join")

    def back(self, clients: Iterable[int]) -> None:
        """Wait until these clients have come; until so many, if the run goes on with fewer."""
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
            Asks a client anew that lost the request and nothing else; returns the request's new number.
        answer
            The kind of the answer.
        least_seconds
            The deadline is at least so late, for what takes longer than a step.

        Returns
        -------
        dict
            The answers of those who are present, by client, ascending.

        Raises
        ------
        LostClients
            If everyone is waited for, and one came back without its memory.
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
                # Who sits out this request because it lost its memory is here all the same.
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
                raise LostClients(f"client {client} came back without what it did since the last checkpoint")
            # It goes on with its own newest snapshot, from the next step.
            state.lost = False
            absent.add(client)

    def _note_late(self, late: list[ClientState]) -> None:
        for state in late:
            state.expire()
            state.misses += 1
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
                    # Mostly the step is over in no time, and then ends with a checkpoint.
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
