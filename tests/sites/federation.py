"""A whole run between sites in one test: a real server, real sockets and TLS; clients in threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sglr.assembly.parts import PartOverrides
from sglr.engines.remote.engine import Remote
from sglr.engines.remote.server.listen import Listen
from sglr.engines.remote.trust.authority import Authority
from sglr.experiment.resume import resume
from sglr.experiment.train import execute
from sglr.parties.spec import ClientSpec
from sglr.runs.config import Experiment
from sglr.runs.folder import Run
from sglr.sites.build_client import SiteConfig
from sglr.sites.join import join
from sglr.sites.own_data import Source
from sglr.sites.requirements import SiteRequirements

SETTINGS: dict[str, Any] = {
    "clients": 3,
    "samples_per_client": 20,
    "test_samples": 40,
    "validation": 30,
    "epochs": 2,
    "model": "mlp",
    "device": "cpu",
    "stacking": "looped",
    "init": "independent",
}
"""A run of seconds: three clients, three steps an epoch, the last batch smaller."""


@dataclass
class Federation:
    """A server and its clients.

    Parameters
    ----------
    folder
        Where all of them keep their files.
    settings
        Of the experiment.
    ready
        Called with the port once the server listens, before clients are started; returns the port to connect to.
    groups
        Which clients share a process' thread; default: all of them.
    direct
        Groups that connect to the server's own port, whatever ``ready`` returned.
    requirements
        Terms of groups that have some.
    link
        What all sites say of their connections; None for what the run says.
    """

    folder: Path
    settings: dict[str, Any]
    ready: Callable[[int], int] = lambda port: port
    groups: Sequence[Sequence[int]] | None = None
    direct: Sequence[int] = ()
    requirements: Mapping[int, SiteRequirements] = field(default_factory=dict)
    link: str | None = None
    problems: list[BaseException] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    ends: list[dict[str, Any]] = field(default_factory=list)
    leaving: threading.Event = field(default_factory=threading.Event)
    tokens: dict[int, list[str]] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)
    authority: Authority | None = None
    engine: Remote | None = None

    @property
    def experiment(self) -> Experiment:
        return Experiment.from_flat({**SETTINGS, **self.settings, "engine": "remote"})

    def train(self, **hooks: Any) -> Run:
        """Train to the end, with all clients, and return the server's run."""
        try:
            return execute(self.experiment, self.folder / "server", given=self._given(), **hooks)
        finally:
            self.end()

    def go_on(self, **hooks: Any) -> Run:
        """Resume the server's run; clients that left join again."""
        try:
            return resume(self.folder / "server", engine=self._make, **hooks)
        finally:
            self.end()

    def _given(self) -> PartOverrides:
        return PartOverrides(engine=self._make)

    def _make(self, setting: ClientSpec) -> Remote:
        self.engine = Remote(setting, Listen(local_clients=False, opened=self._opened))
        return self.engine

    def _opened(self, port: int, authority: Authority) -> None:
        self.authority = authority
        self.ports = port, self.ready(port)
        pooled = self.settings.get("method") == "cl"
        everyone = [range(1 if pooled else self.experiment.clients)]
        for number, clients in enumerate(self.groups if self.groups is not None else everyone):
            self.start(number, clients)

    def start(self, number: int, clients: Sequence[int]) -> threading.Thread:
        """Start clients in a thread of their own, with new tokens."""
        assert self.authority is not None
        self.tokens[number] = [self.authority.issue_token(client, timedelta(hours=1)) for client in clients]
        return self.again(number)

    def again(self, number: int) -> threading.Thread:
        """Start clients as before, with the tokens that they had."""
        tokens, folder = self.tokens[number], self.folder / f"site-{number}"
        address = f"127.0.0.1:{self.ports[number not in self.direct]}"
        thread = threading.Thread(
            target=partial(self._join, address, tokens, folder, self.requirements.get(number, SiteRequirements())),
            name=f"site-{number}",
        )
        thread.start()
        self.threads.append(thread)
        return thread

    def _join(self, address: str, tokens: list[str], folder: Path, requirements: SiteRequirements) -> None:
        chosen, source = self.experiment.model, Source(dataset=str(self.experiment.dataset))
        model = chosen if ":" in chosen else None
        own = SiteConfig(source=source, device="cpu", requirements=requirements, model=model, link=self.link)
        try:
            ends = join(address, tokens, own, folder, patience=30, say=self.said.append, stop=self.leaving.is_set)
            self.ends.extend(ends)
        except BaseException as problem:
            self.problems.append(problem)

    def crash(self, number: int) -> None:
        """End everyone, have the clients of one group lose all but their snapshots, and start all again."""
        self.end()
        for left in (self.folder / f"site-{number}").rglob("left.safetensors"):
            left.unlink()
        for other in self.tokens:
            self.again(other)

    def end(self) -> None:
        """Let clients leave, and wait for them."""
        self.leaving.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive(), f"{thread.name} does not end"
        self.threads.clear()
        self.leaving.clear()


def local_twin(settings: dict[str, Any], folder: Path) -> Run:
    """Train the same in this process."""
    return execute(Experiment.from_flat({**SETTINGS, **settings, "engine": "local"}), folder)
