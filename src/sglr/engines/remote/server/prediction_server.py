"""A gRPC server that answers predictions, in a thread of its own, until it is drained."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import grpc.aio

from sglr.engines.remote.server.listen import ServedRun
from sglr.engines.remote.server.metrics import Metrics
from sglr.engines.remote.server.predictions import PredictionLimits, PredictionService, ServedNetwork
from sglr.engines.remote.server.services import calls
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.service import enrolment, server_credentials


class PredictionServer:
    """Answers predictions of one run.

    Parameters
    ----------
    run
        Where to listen, and the run as clients are told it.
    network
        What answers.
    limits
        What each client may ask.
    authority
        Knows which certificates are valid.
    metrics
        Counts messages and refusals.

    Attributes
    ----------
    port
        Where it listens, once it is open.
    """

    def __init__(
        self, run: ServedRun, network: ServedNetwork, limits: PredictionLimits, authority: Authority, metrics: Metrics
    ) -> None:
        self._run, self._authority, self._metrics = run, authority, metrics
        self._network, self._limits = network, limits
        self.port = 0
        self._state = "predicting"
        self._service: PredictionService | None = None
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="sglr-network", daemon=True)

    def open(self) -> None:
        """Listen.

        Raises
        ------
        UsageError
            If the server can't listen at the address.
        """
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def drain(self) -> None:
        """Take no new requests, answer those that are open, and stop listening."""
        if self._thread.is_alive() and self._failure is None:
            self._state = "draining"
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(self._limits.seconds + 5)
            self._state = "stopped"

    def describe(self) -> dict[str, Any]:
        """Return the status, as ``sglr status`` shows it."""
        told = {} if self._service is None else self._service.usage.describe()
        return {"run": self._run.description.run, "state": self._state, "why": "", **told}

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            self._service, server = await self._started()
        except Exception as error:
            self._failure = error
            self._ready.set()
            return
        working = asyncio.create_task(self._service.batcher.work())
        self._ready.set()
        await self._stop.wait()
        await server.stop(self._limits.seconds)
        working.cancel()

    async def _started(self) -> tuple[PredictionService, grpc.aio.Server]:
        clients = self._run.description.clients
        service = PredictionService(self._network, self._limits, clients, self._authority, self._metrics)
        beside = calls(self._authority, self._run.description, self.describe, self._metrics)
        handlers = (enrolment(self._authority), beside, service.handlers())
        server, self.port = self._run.listen(server_credentials(self._authority), handlers)
        await server.start()
        return service, server
