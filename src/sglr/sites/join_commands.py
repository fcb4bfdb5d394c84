"""Join commands: what a server's operator sends to each site, ready to be pasted."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from sglr.assembly.method import build_method
from sglr.core.errors import NotRead, SglrError, UsageError
from sglr.core.registry import METHODS
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.connection import parse_address
from sglr.engines.remote.trust.files import as_owner, own_folder, write_private
from sglr.runs.config import Experiment
from sglr.runs.folder import TRUST, Run
from sglr.sites.status import ADDRESS, read_address

PATH = "PATH"
"""What stands in a line for the site's own data."""

SEGMENT = "SEGMENT"
"""What stands in a line for the file with a client's weights."""

ANYWHERE = ("0.0.0.0", "::")


def told_address(listen: str, address: str | None) -> str:
    """Return how clients reach a server that listens at ``listen``: ``address`` if it is given.

    Raises
    ------
    UsageError
        If either is not HOST:PORT.
    """
    host, port = parse_address(listen)
    if address is not None:
        parse_address(address)
        return address
    return f"{socket.getfqdn()}:{port}" if host in ANYWHERE else listen


def keep_address(run: Path, address: str) -> None:
    """Note for later lines how clients reach the server of a run."""
    own_folder(run / TRUST)
    write_private(run / TRUST / ADDRESS, address.encode())


def number_of_clients(experiment: Experiment) -> int:
    """Return how many clients join: one where all data are in one place."""
    return 1 if METHODS.load(experiment.method).pooled else experiment.clients


def line(experiment: Experiment, address: str, client: int, token: str) -> str:
    """Return the command with which ``client`` joins."""
    words = ["sglr", "join", address, "--token", token]
    if experiment.dataset == "sites":
        words += ["--data", PATH]
    else:
        words += ["--dataset", experiment.dataset]
        if number_of_clients(experiment) > 1:
            words += ["--partition", f"{client}/{experiment.clients}"]
    if ":" in experiment.model:
        words += ["--model", experiment.model]
    return shlex.join(words)


def predict_line(experiment: Experiment, address: str, client: int, token: str) -> str:
    """Return the command with which a site that did not train predicts as ``client``."""
    del client
    words = ["sglr", "predict", address, "--token", token, "--data", PATH, "--out", "predictions.parquet"]
    if not build_method(experiment).alike:
        words += ["--segment", SEGMENT]
    if ":" in experiment.model:
        words += ["--model", experiment.model]
    return shlex.join(words)


def missing(authority: Authority, experiment: Experiment) -> list[int]:
    """Return the clients that have no certificate that counts, so that they need a line."""
    there = {one.client.number for one in authority.enrolled() if one.ended is None}
    return [client for client in range(number_of_clients(experiment)) if client not in there]


def new_lines(
    authority: Authority,
    experiment: Experiment,
    address: str,
    clients: Sequence[int],
    lifetime: timedelta,
    line: Callable[[Experiment, str, int, str], str] = line,
) -> dict[int, str]:
    """Issue a token for each of ``clients``; return their lines."""
    tokens = {client: authority.issue_token(client, lifetime) for client in clients}
    return {client: line(experiment, address, client, token) for client, token in tokens.items()}


def write_tokens(authority: Authority, clients: Sequence[int], lifetime: timedelta, folder: Path) -> list[Path]:
    """Issue a token for each of ``clients``, each into a file of mode 0600 that is called ``client-3.token``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"client-{client}.token" for client in clients]
        for client, path in zip(clients, paths, strict=True):
            write_private(path, authority.issue_token(client, lifetime).encode())
    except OSError as error:
        raise UsageError("tokens", folder, f"cannot be written ({error.strerror})", "give another folder") from error
    return paths


def renew(run: Path, client: int, address: str | None, lifetime: timedelta) -> str:
    """Return a new line for a client of a run that is served, or was; its old certificate ends when the line is used.

    Raises
    ------
    UsageError
        If the folder is no run that was served, or has no such client.
    """
    experiment = Run.open(run).experiment
    with _authority(run, experiment, client) as authority:
        known = address or read_address(run)
        if known is None:
            problem = "the address of this server is not known"
            raise UsageError("address", "none", problem, "give --address HOST:PORT")
        parse_address(known)
        return new_lines(authority, experiment, known, [client], lifetime)[client]


def revoke(run: Path, client: int) -> int:
    """End all certificates and tokens of a client; return how many counted until now.

    Raises
    ------
    UsageError
        If the folder is no run that was served, or is another user's, or has no such client.
    SglrError
        If some of it can't be written or read, so that the client may be let in still.
    """
    with _authority(run, Run.open(run).experiment, client) as authority:
        try:
            return authority.revoke(client)
        except NotRead as error:
            raise SglrError(
                f"client {client} may still join with a token whose record can't be read: {error}"
            ) from error


@contextmanager
def _authority(run: Path, experiment: Experiment, client: int) -> Iterator[Authority]:
    """Open the authority of a run that is served, or was; what root writes there belongs to the run's operator."""
    clients = number_of_clients(experiment)
    if not 0 <= client < clients:
        raise UsageError("client", client, f"this run has {clients} clients", f"give 0 to {clients - 1}")
    folder = run / TRUST
    if not folder.is_dir():
        raise UsageError("folder", folder, "no authority in it", "give the --out of sglr serve")
    try:
        with as_owner(folder):
            yield Authority.open(folder, create=False)
    except OSError as error:
        problem = f"{folder} cannot be written ({error.strerror})"
        raise SglrError(f"nothing changed for client {client}: {problem}") from error
