"""A server of predictions in this process, with real sockets and TLS, and sites that ask it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from torch import nn

from sglr.engines.remote.run_description import run_id
from sglr.engines.remote.server.listen import ServedRun
from sglr.engines.remote.server.metrics import Metrics
from sglr.engines.remote.server.prediction_server import PredictionServer
from sglr.engines.remote.server.predictions import PredictionLimits
from sglr.engines.remote.trust.authority import Authority
from sglr.runs.folder import TRUST
from sglr.sites.connect import SiteOptions, connect
from sglr.sites.served_network import ServedRunParts, served_network
from sglr.sites.site_network import SiteNetwork


@dataclass
class Served:
    """A run that is served."""

    folder: Path
    parts: ServedRunParts
    server: PredictionServer
    authority: Authority
    metrics: Metrics

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def token(self, client: int) -> str:
        return self.authority.issue_token(client, timedelta(hours=1))

    def site(self, client: int, folder: Path, options: SiteOptions | None = None, **told: object) -> SiteNetwork:
        """Connect a new site."""
        return connect(self.address, self.token(client), folder, options or SiteOptions(device="cpu"), **told)


@contextmanager
def serving(folder: Path, limits: PredictionLimits | None = None, segment: nn.Module | None = None) -> Iterator[Served]:
    """Serve the predictions of a run, with the server's segment or another."""
    parts = served_network(folder, device="cpu")
    if segment is not None:
        parts = replace(parts, network=replace(parts.network, segment=segment))
    authority = Authority.open(folder / TRUST)
    metrics = Metrics(parts.description.clients)
    description = replace(parts.description, run=run_id(authority.fingerprint))
    run = ServedRun("127.0.0.1", 0, description, parts.network.most_bytes, ())
    server = PredictionServer(run, parts.network, limits or PredictionLimits(), authority, metrics)
    server.open()
    try:
        yield Served(folder, parts, server, authority, metrics)
    finally:
        server.drain()
