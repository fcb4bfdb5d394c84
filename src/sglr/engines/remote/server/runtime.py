"""What a server has on its machine while it runs: keys, the open port, the status, and clients it started itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sglr.engines.remote.run_description import RunDescription, run_id
from sglr.engines.remote.server.barrier import Barrier, Patience
from sglr.engines.remote.server.client_state import AWAY, DONE, HERE, NEVER, ClientState
from sglr.engines.remote.server.connections import ConnectionServer
from sglr.engines.remote.server.listen import Listen, ServedRun
from sglr.engines.remote.server.local_clients import LocalClients
from sglr.engines.remote.server.metrics import Metrics
from sglr.engines.remote.server.status_file import StatusFile
from sglr.engines.remote.trust.authority import Authority

FAREWELL_SECONDS, LATE_SECONDS = 10.0, 30.0
"""How long clients have to hear that the training is over: those who are here, and those who are away."""


class Farewell:
    """How long clients are waited for at the end: longer for those who have yet to come, and then as long as others."""

    def __init__(self) -> None:
        self._began = self._came = time.monotonic()

    def over(self, left: Sequence[ClientState]) -> bool:
        """Say whether those who are left had long enough; to be asked several times a second."""
        now = time.monotonic()
        if all(one.presence == HERE for one in left):
            return now - self._came > FAREWELL_SECONDS
        self._came = now
        return now - self._began > LATE_SECONDS


class ServerRuntime:
    """A server's place.

    Parameters
    ----------
    folder
        The run's folder.
    listen
        Where to listen.
    description
        What clients are told; the run's id is filled in.
    most_bytes
        Length of the longest message.
    patience
        Whom to wait for.
    sizes
        |D_i| of every client where it is known; else 0.
    held
        How many samples every client scores on, by part, where that is known.
    """

    def __init__(
        self,
        folder: Path,
        listen: Listen,
        description: RunDescription,
        most_bytes: int,
        patience: Patience,
        sizes: Sequence[int],
        held: Mapping[str, int],
    ) -> None:
        self._folder, self._listen = folder, listen
        self._authority = Authority.open(folder / "trust")
        self._description = replace(description, run=run_id(self._authority.fingerprint))
        self._metrics = Metrics(description.clients)
        self._local_clients: LocalClients | None = None
        self._stopping: Callable[[], bool] = lambda: False
        run = ServedRun(listen.host, listen.port, self._description, most_bytes, sizes, held)
        self.connections = ConnectionServer(run, self._authority, self._metrics)
        self.barrier = Barrier(self.connections, patience, self._stop)
        self._status = StatusFile(folder / "status.json", self.describe)
        self._step_began = time.perf_counter()
        self._waited = 0.0

    def open(self, settings: Mapping[str, Any], stopping: Callable[[], bool]) -> None:
        """Listen; start clients if that is wanted.

        Parameters
        ----------
        settings
            The experiment's, for clients that are started here.
        stopping
            Asked while it waits whether to stop.
        """
        self._stopping = stopping
        self._told = [one["client"] for one in self._status.read().get("clients", []) if one["state"] == DONE]
        self.connections.open(self.describe)
        self._status.start()
        self._listen.begin(self.connections.port, self._authority, self._metrics)
        if self._listen.local_clients:
            self._local_clients = LocalClients(self._folder / "clients", settings, self._description.clients)
            self._local_clients.start(self.connections.port, self._authority)

    def _stop(self) -> bool:
        """Say whether to stop waiting; notice that a client's process on this machine failed for good."""
        if self._local_clients is not None:
            self._local_clients.check()
        return self._stopping()

    def say_farewell(self, finish: Callable[[int], int], *, everyone: bool) -> None:
        """Tell clients that the training is over and wait until they have heard, but not long.

        Parameters
        ----------
        finish
            Tells a client; returns the request's number.
        everyone
            Wait for those too who have not come, unless an earlier process told them.
        """
        asked = dict[int, int]()
        states = (HERE, AWAY, NEVER) if everyone else (HERE, AWAY)

        def left() -> list[ClientState]:
            found = [one for one in self.connections.states if one.presence in states]
            for state in found:
                _tell(state, asked, finish)
            return found

        with self.connections.changed:
            for client in self._told if everyone else ():
                self.connections.states[client].become(DONE)
            self._wait_for(left)

    def _say_diverged(self, reason: str) -> None:
        """Tell clients that the training can't go on, and wait until they have heard, but not long."""
        self.connections.end(reason)
        with self.connections.changed:
            self._wait_for(lambda: [one for one in self.connections.states if one.counts])

    def _wait_for(self, left: Callable[[], Sequence[ClientState]]) -> None:
        """Wait, but not long, until nobody is left to be told of the end; the caller holds ``connections.changed``."""
        farewell = Farewell()
        while (states := left()) and not farewell.over(states) and not self._stopping():
            self.connections.changed.wait(0.2)

    def close(self, state: str, diverged: str = "") -> None:
        """Stop listening, and end the clients that were started here; ``diverged`` tells them why they can't go on."""
        if diverged:
            self._say_diverged(diverged)
        self._status.stop(state, diverged)
        self.connections.close()
        if self._local_clients is not None:
            self._local_clients.stop()
        self._listen.end()

    def waited(self, seconds: float) -> None:
        """Note how long a step waited for clients."""
        self._waited = seconds

    def sent(self, seconds: float) -> None:
        """Note how long it took to hand out a step's gradients: the step is over."""
        now = time.perf_counter()
        computed = now - self._step_began - self._waited - seconds
        self._metrics.step(self._waited, max(0.0, computed), seconds)
        self._step_began = now

    def describe(self) -> dict[str, Any]:
        """Return what ``status.json`` tells."""
        with self.connections.changed:
            clients = [state.describe() for state in self.connections.states]
        waiting = self.barrier.long_waited_for
        return {
            "run": self._description.run,
            "state": "waiting" if waiting else "training",
            "why": f"waiting for {waiting}" if waiting else "",
            "clients": clients,
            **self._listen.progress(),
        }


def _tell(state: ClientState, asked: dict[int, int], finish: Callable[[int], int]) -> None:
    """Tell a client that is here that the training is over, unless it was told; note that it heard."""
    seq = asked.get(state.client)
    if seq in state.answers:
        state.become(DONE)
    elif state.presence == HERE and seq not in state.unanswered:
        state.lost = False  # what it lost is no longer needed
        asked[state.client] = finish(state.client)
