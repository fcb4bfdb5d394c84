"""What a server has while it runs: keys, the open port, the status file, and clients that it started itself."""

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
from sglr.runs.config import Experiment

FAREWELL_SECONDS, LATE_SECONDS = 10.0, 30.0
"""How long connected clients, and absent ones, are given to be told that the training is over."""


class Farewell:
    """How long clients are waited for at the end: longer for those that are not connected yet."""

    def __init__(self) -> None:
        self._began = self._came = time.monotonic()

    def over(self, left: Sequence[ClientState]) -> bool:
        """Return whether the clients that are left had long enough; to be called several times a second."""
        now = time.monotonic()
        if all(one.presence == HERE for one in left):
            return now - self._came > FAREWELL_SECONDS
        self._came = now
        return now - self._began > LATE_SECONDS


class ServerRuntime:
    """The parts of a running server.

    Parameters
    ----------
    folder
        The run's folder.
    listen
        Where to listen.
    description
        The run, as clients are told it; its id is filled in.
    most_bytes
        Length of the longest message.
    patience
        How long clients are waited for.
    sizes
        |D_i| of every client where it is known; else 0.
    held
        How many samples every client scores on, by part, where that is known.
    should_stop
        Called while it waits; True stops the run.
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
        should_stop: Callable[[], bool],
    ) -> None:
        self._folder, self._listen = folder, listen
        self._authority = Authority.open(folder / "trust")
        self._description = replace(description, run=run_id(self._authority.fingerprint))
        self._metrics = Metrics(description.clients)
        self._local_clients: LocalClients | None = None
        self._should_stop = should_stop
        run = ServedRun(listen.host, listen.port, self._description, most_bytes, sizes, held)
        self.connections = ConnectionServer(run, self._authority, self._metrics)
        self.barrier = Barrier(self.connections, patience, self._stop)
        self._status = StatusFile(folder / "status.json", self.describe)
        self._step_began = time.perf_counter()
        self._waited = 0.0

    def open(self, experiment: Experiment) -> None:
        """Listen; start clients if that is wanted.

        Parameters
        ----------
        experiment
            The settings, for clients that are started here.
        """
        self._told = [one["client"] for one in self._status.read().get("clients", []) if one["state"] == DONE]
        self.connections.open(self.describe)
        self._status.start()
        self._listen.begin(self.connections.port, self._authority, self._metrics)
        if self._listen.local_clients:
            self._local_clients = LocalClients(self._folder / "clients", experiment)
            self._local_clients.start(self.connections.port, self._authority)

    def _stop(self) -> bool:
        """Return whether to stop waiting; raise an error if a client's process on this machine failed."""
        if self._local_clients is not None:
            self._local_clients.check()
        return self._should_stop()

    def say_farewell(self, finish: Callable[[int], int], *, everyone: bool) -> None:
        """Tell clients that the training is over, and wait briefly until they have confirmed it.

        Parameters
        ----------
        finish
            Tells a client; returns the request's number.
        everyone
            Wait for clients that have not joined, too, unless an earlier process told them.
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
        """Tell clients that the training can't go on, and wait briefly until their streams have ended."""
        self.connections.end(reason)
        with self.connections.changed:
            self._wait_for(lambda: [one for one in self.connections.states if one.counts])

    def _wait_for(self, left: Callable[[], Sequence[ClientState]]) -> None:
        """Wait briefly until no client is left to be told of the end; the caller holds ``connections.changed``."""
        farewell = Farewell()
        while (states := left()) and not farewell.over(states) and not self._should_stop():
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
        """Record how long a step waited for clients."""
        self._waited = seconds

    def sent(self, seconds: float) -> None:
        """Record how long it took to send a step's gradients: the step is over."""
        now = time.perf_counter()
        computed = now - self._step_began - self._waited - seconds
        self._metrics.step(self._waited, max(0.0, computed), seconds)
        self._step_began = now

    def describe(self) -> dict[str, Any]:
        """Return the content of ``status.json``."""
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
    """Tell a connected client that the training is over, unless it was told; record its confirmation."""
    seq = asked.get(state.client)
    if seq in state.answers:
        state.become(DONE)
    elif state.presence == HERE and seq not in state.unanswered:
        state.lost = False  # what it lost is no longer needed
        asked[state.client] = finish(state.client)
