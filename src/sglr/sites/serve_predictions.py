"""``sglr serve RUN --predict``: hold the server's layers of a trained run, and answer sites that hold the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sglr.engines.remote.run_description import run_id
from sglr.engines.remote.server.listen import Listen, ServedRun
from sglr.engines.remote.server.metrics import Metrics
from sglr.engines.remote.server.prediction_server import PredictionServer
from sglr.engines.remote.server.predictions import PredictionLimits
from sglr.engines.remote.server.status_file import StatusFile
from sglr.engines.remote.trust.authority import Authority
from sglr.runs.folder import PREDICTING, TRUST
from sglr.sites.serve_options import ServeOptions
from sglr.sites.served_network import ServedRunParts
from sglr.storage.lock import locked

LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class PredictionOptions(ServeOptions):
    """The settings of a server of predictions: where it listens, and what each client may ask.

    Parameters
    ----------
    limits
        What each client may ask.
    """

    limits: PredictionLimits = field(default_factory=PredictionLimits)


def serve_predictions(
    folder: Path, parts: ServedRunParts, options: PredictionOptions, stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Answer predictions until ``stop`` returns True; then requests that are open are answered still.

    Parameters
    ----------
    folder
        The run's folder, which gets the authority if the run was trained in one place, and the status.
    parts
        What `sglr.sites.served_network.served_network` returned.
    options
        Where to listen, and with which limits.
    stop
        Called several times a second.

    Returns
    -------
    dict
        The last status: how many samples of which client were answered.

    Raises
    ------
    UsageError
        If the address is taken, or another process serves this run's predictions.
    """
    with _opened(folder, parts, options) as server:
        while not stop():
            time.sleep(LOOK_SECONDS)
    return server.describe()


@contextmanager
def _opened(folder: Path, parts: ServedRunParts, options: PredictionOptions) -> Iterator[PredictionServer]:
    host, port = options.place
    authority = Authority.open(folder / TRUST)
    description = replace(parts.description, run=run_id(authority.fingerprint))
    metrics = Metrics(description.clients)
    run = ServedRun(host, port, description, parts.network.most_bytes, ())
    server = PredictionServer(run, parts.network, options.limits, authority, metrics)
    listen = Listen(host, port, metrics=options.metrics, opened=options.opened)
    status = StatusFile(folder / PREDICTING, server.describe)
    with locked(folder / TRUST, "run"):
        server.open()
        status.start()
        try:
            listen.begin(server.port, authority, metrics)
            yield server
        finally:
            server.drain()
            status.stop("stopped")
            listen.end()
