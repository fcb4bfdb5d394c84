"""A client of a run whose server is elsewhere: enrol, read the description, train until the end or until it leaves."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from sglr.core.errors import DamagedCheckpoint, SglrError, UsageError
from sglr.data.loaded import classes_line, inputs_text, samples_line, shape_text
from sglr.engines.remote.client.computing import Computing
from sglr.engines.remote.client.connection import FIRST_WAIT, LONGEST_WAIT, ClientConnection, ClientContext
from sglr.engines.remote.client.handlers import SEGMENT
from sglr.engines.remote.client.passes_ahead import bytes_of_copy, bytes_of_pass
from sglr.engines.remote.client.snapshots import Snapshots
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.link.beside import relays
from sglr.engines.remote.link.link import Link, read_links
from sglr.engines.remote.run_description import RunDescription, run_id
from sglr.engines.remote.segment_hash import frozen_hash, network_hash, segment_hash
from sglr.engines.remote.trust.identity import Identity
from sglr.engines.remote.trust.peers import Unreachable
from sglr.engines.remote.trust.token import Token
from sglr.engines.remote.trust.token_holder import TokenHolder
from sglr.engines.remote.wire.frames import shown
from sglr.sites.build_client import SiteConfig, make_trainers, own_experiment
from sglr.sites.join_processes import in_processes
from sglr.sites.requirements import what_leaves
from sglr.storage.checkpoint import read_checkpoint
from sglr.storage.lock import locked

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

T = TypeVar("T")

SITES = Path("sites")
"""Where clients keep their folders if no other is given."""

KEPT_SNAPSHOTS = 10
"""A client keeps no more snapshots than that, whatever the server wants."""

LOOK_SECONDS = 0.2

Participant = tuple[Identity, Path]
"""A client's identity, and the folder with its snapshots."""


def folders(tokens: Sequence[str], out: Path | None) -> list[Path]:
    """Return a folder for each token, the same every time; that of the only identity if there is no token.

    Without ``out`` it has the token's name. Within ``out`` it is the token's place on the command line, so that a new
    token for the same client finds what there is.

    Raises
    ------
    UsageError
        If a token is mistyped, or there is neither a token nor a folder.
    """
    if not tokens:
        if out is None:
            raise UsageError("token", "none", "no token given", "paste the whole line of the server")
        Identity.open(out)
        return [out]
    ids = [Token.parse(text).id for text in tokens]
    if out is None:
        return [SITES / name for name in ids]
    return [out] if len(ids) == 1 else [out / str(place) for place in range(len(ids))]


def join(
    address: str,
    tokens: Sequence[str],
    site: SiteConfig,
    out: Path | None = None,
    *,
    patience: float = 3600.0,
    say: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    processes: int = 1,
) -> list[bool]:
    """Join a run and take part until it is over; the same call again goes on after a crash.

    Parameters
    ----------
    address
        ``HOST:PORT`` of the server.
    tokens
        A join token for each client of this process, mostly one; none if the folder holds an identity already.
    site
        The settings of this site.
    out
        The folder; None is ``sites/<the token's id>``. Several tokens have folders of their own in it, by their order.
    patience
        Seconds without the server until it gives up.
    say
        Called with messages for the user.
    stop
        Called several times a second; True leaves the run.
    processes
        Processes that the clients are shared out over, as `processes_for` says; more than one are forked, so that
        nothing else may run in this process.

    Returns
    -------
    list of bool
        For each client whether it took part to the end; empty if it left before it had joined.

    Raises
    ------
    UsageError
        If a token, a setting or the data are wrong.
    Untrusted
        If it is another server, or it refuses this client.
    SglrError
        If the server does not answer.
    """
    if not patience >= 0:
        raise UsageError("patience", patience, "is no time to wait", "give 0 seconds or more")
    found = list(zip(tokens or [""], folders(tokens, out), strict=True))
    return in_processes(partial(_join, address, site, patience, say), found, stop, processes)


def _join(
    address: str,
    site: SiteConfig,
    patience: float,
    say: Callable[[str], None],
    found: Sequence[tuple[str, Path]],
    stop: Callable[[], bool],
) -> list[bool]:
    """Join with the clients of one process, each by its token and its folder."""
    with _locked([folder for _, folder in found]):
        places: list[Participant] = []
        for token, folder in found:
            known = places[-1][0].authority if places else None
            identity = _reached(partial(_identity, address, token, folder, known), patience, say, stop)
            if identity is None:
                return []
            places.append((identity, folder))
        over = all(_is_over(*place) for place in places)
        try:
            return _take_part(address, places, site, 0 if over else patience, say, stop)
        except Unreachable:
            if over:  # the server said so before, and need not be there any more
                return [True] * len(places)
            raise


def _take_part(
    address: str,
    places: Sequence[Participant],
    site: SiteConfig,
    patience: float,
    say: Callable[[str], None],
    stop: Callable[[], bool],
) -> list[bool]:
    description = _reached(partial(ask_description, address, places[0][0]), patience, say, stop)
    if description is None:
        return []
    if description.served:
        what = "the training of this run is over, and its server answers predictions"
        raise SglrError(f"{what}: sglr predict {address} --folder {places[0][1]}")
    experiment = own_experiment(description, site.model, site.task)
    links = _links(site.link or experiment.link, description.clients, places)
    trainers = make_trainers(description, [identity.client for identity, _ in places], site)
    for trainer in trainers:
        for line in _described(trainer, description):
            say(line)
    say(what_leaves(experiment, site.requirements))
    for client, link in links.items():
        say(f"client {client} is connected as by a link of {link.text}")
    with relays(address, links) as through:
        return asyncio.run(_train(address, places, description, trainers, patience, say, stop, through))


def _links(text: str, clients: int, places: Sequence[Participant]) -> dict[int, Link]:
    """Return the links of the clients of this process."""
    links = read_links(text, clients)
    return {identity.client: links[identity.client] for identity, _ in places if identity.client in links}


def _identity(address: str, token: str, folder: Path, known: Certificate | None) -> Identity:
    return Identity.enrol(address, token, folder, known=known) if token else Identity.open(folder)


def _is_over(identity: Identity, folder: Path) -> bool:
    """Return whether this client was told that the training of its run is over."""
    try:
        _, told = read_checkpoint(folder / SEGMENT)
    except DamagedCheckpoint:
        return False
    return bool(told.get("run") == run_id(identity.fingerprint))


def _reached(ask: Callable[[], T], patience: float, say: Callable[[str], None], stop: Callable[[], bool]) -> T | None:
    """Ask until the server answers; None if the user stops."""
    until, wait, told = time.monotonic() + patience, FIRST_WAIT, False
    while not stop():
        try:
            return ask()
        except Unreachable as error:
            if time.monotonic() > until:
                raise
            if not told:
                say(f"{error}; trying again, for {patience:.0f} seconds")
            told = True
        again = time.monotonic() + wait * random.uniform(0.5, 1.0)
        while time.monotonic() < again and not stop():
            time.sleep(LOOK_SECONDS)
        wait = min(2 * wait, LONGEST_WAIT)
    return None


def ask_description(address: str, identity: Identity | TokenHolder, timeout: float = 30.0) -> RunDescription:
    """Ask the server for the description of the run.

    Raises
    ------
    SglrError
        If it can't be reached, refuses this client, or speaks another version.
    """
    import grpc

    refusals = ("UNAUTHENTICATED", "PERMISSION_DENIED", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED")
    with identity.sync_channel(address) as channel:
        ask = channel.unary_unary("/sglr.Split/Agreement")
        try:
            answer: bytes = ask(b"", timeout=timeout, wait_for_ready=False)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise identity.diagnose(address) from None
            told = shown(error.details() or "")
            if error.code().name in refusals:
                raise SglrError(f"{address} refused this client: {told}") from None
            # A server that is just ending cancels what it is asked.
            raise Unreachable(f"{address} did not say what the run is: {error.code().name}, {told}") from None
    return RunDescription.decode(answer)


async def _train(
    address: str,
    places: Sequence[Participant],
    description: RunDescription,
    trainers: Sequence[LocalTrainer],
    patience: float,
    say: Callable[[str], None],
    stop: Callable[[], bool],
    through: Mapping[int, str],
) -> list[bool]:
    told = description.settings.get("keep_checkpoints")
    keep = min(KEPT_SNAPSHOTS, (told if type(told) is int and told > 0 else 3) + 1)
    with Computing() as computing:
        clients = []
        for (identity, folder), trainer in zip(places, trainers, strict=True):
            snapshots = Snapshots(folder / "snapshots", description.run, keep)
            newest = snapshots.newest()
            if newest is not None:
                trainer.restore(newest)
            segment = trainer.job.segment
            own = description.at(trainer.job.client)
            hashed = segment_hash(segment, own.input_shape, own.cut_shape)
            network = network_hash(hashed, frozen_hash(segment))
            relay = through.get(identity.client)
            context = ClientContext(identity, address, own, network, trainer, snapshots, say, relay)
            clients.append(ClientConnection(context, computing, patience))
        leaving = asyncio.create_task(_leave_when(stop, clients))
        try:
            await asyncio.gather(*(client.run() for client in clients))
        finally:
            leaving.cancel()
    return [client.finished for client in clients]


async def _leave_when(stop: Callable[[], bool], clients: Sequence[ClientConnection]) -> None:
    while not stop():
        await asyncio.sleep(LOOK_SECONDS)
    for client in clients:
        client.leaving.set()


def _described(trainer: LocalTrainer, description: RunDescription) -> list[str]:
    """Return what this client has: samples for what, classes, and its part of the model."""
    job = trainer.job
    held = [len(job.held.get(name, ())) for name in ("validation", "test")]
    settings = description.settings
    inputs = inputs_text(description.input_shape, description.encoding)
    shapes = f"inputs {inputs}, {shape_text(description.at(job.client).cut_shape)} at the cut"
    return [
        samples_line(f"client {job.client} of {description.clients}", trainer.samples, *held),
        f"classes {classes_line(job.train, description.classes)}"
        if description.classes
        else f"targets {description.targets.describe()}",
        f"model   {shown(str(settings.get('model')))}, {shapes}",
        *([f"ahead   {_ahead_line(trainer)}"] if job.ahead else []),
    ]


def _ahead_line(trainer: LocalTrainer) -> str:
    """Return how far a client computes ahead of its gradients, and the memory that it takes."""
    job = trainer.job
    inputs = job.train.inputs[torch.arange(min(job.batching.size, len(job.train)))]
    batch, copy = bytes_of_pass(job.segment, inputs), bytes_of_copy(job.segment)
    most = (job.ahead + 1) * (batch + copy) / 1e6
    kept = f"up to {job.ahead + 1} batches of {batch / 1e6:.3g} MB, each with a copy of {copy / 1e6:.3g} MB of weights"
    return f"{job.ahead} batches of their gradients: keeps {kept} ({most:.3g} MB)"


@contextmanager
def _locked(places: Sequence[Path]) -> Iterator[None]:
    """Lock these folders: two processes of one client would disconnect each other again and again."""
    with ExitStack() as stack:
        for folder in places:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                problem = f"cannot be written ({error.strerror})"
                raise UsageError("out", folder, problem, "give another --out") from error
            stack.enter_context(locked(folder))
        yield
