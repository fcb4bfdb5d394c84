"""The status of a run between sites: read from the server's folder, or asked over the network by a client."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from sglr.core.errors import SglrError, UsageError
from sglr.runs.folder import CONFIG, PREDICTING, STATUS, TRUST
from sglr.storage.files import read_if_there
from sglr.storage.json_files import parse
from sglr.system.extras import require

STALE_SECONDS = 10.0
"""A server writes its status every second; if it is older than this, the server has died."""

SLOW = 2.0
"""A client that takes so many times as long as the median of the others is slow."""

OVER = ("done", "stopped")

ADDRESS = "address"
"""The file beside the authority with the address that clients are told."""


def read_address(run: Path) -> str | None:
    """Return how clients reach the server of a run; None if it was never served."""
    content = read_if_there(run / TRUST / ADDRESS)
    return None if content is None else content.decode(errors="replace").strip()


def read_status(folder: Path) -> dict[str, Any]:
    """Return the last status of the server that ran last in ``folder``.

    Raises
    ------
    UsageError
        If no server has run there, or its status is damaged.
    """
    path = _newer(folder)
    content = read_if_there(path)
    if content is None:
        known = (folder / CONFIG).is_file()
        problem = "this run was not served to other machines" if known else "no server has run in this folder"
        raise UsageError("folder", folder, problem, "give the --out of sglr serve, or the server's HOST:PORT")
    try:
        return _checked(content)
    except ValueError as error:
        raise UsageError("folder", path, f"cannot be read ({error})", "is the server running?") from error


def _newer(folder: Path) -> Path:
    """Return the status file of the server that ran last in a folder: one that trains, or one that predicts."""
    found = [folder / name for name in (PREDICTING, STATUS) if (folder / name).is_file()]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=folder / STATUS)


def ask_status(address: str, folder: Path, timeout: float = 10.0) -> dict[str, Any]:
    """Ask the server at ``address`` as the client whose identity is in ``folder``.

    Raises
    ------
    UsageError
        If there is no identity in the folder.
    SglrError
        If the server does not answer, or refuses this client.
    """
    require("sites", "address", address)
    import grpc

    from sglr.engines.remote.trust.identity import Identity
    from sglr.engines.remote.wire.frames import shown

    identity = Identity.open(folder)
    with identity.sync_channel(address) as channel:
        try:
            answer: bytes = channel.unary_unary("/sglr.Split/Status")(b"", timeout=timeout)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise identity.diagnose(address) from None
            raise SglrError(f"{address} refused to tell its status: {shown(error.details() or '')}") from None
    try:
        # Who answers is there.
        return {"updated": time.time(), **_checked(answer)}
    except ValueError as error:
        raise SglrError(f"invalid status from {address} ({error})") from None


def _checked(content: bytes) -> dict[str, Any]:
    status = parse(content)
    if not isinstance(status, dict) or not isinstance(status.get("clients"), list):
        raise ValueError("it names no clients")  # noqa: TRY004 - the file is wrong, not a type in this program
    return status


def is_stale(status: Mapping[str, Any], now: float | None = None) -> bool:
    """Return True if a server that is not over has not written for a while: it died, or its disk is full."""
    updated = float(status.get("updated") or 0)
    return status.get("state") not in OVER and (time.time() if now is None else now) - updated > STALE_SECONDS


def slow_clients(clients: Sequence[Mapping[str, Any]]) -> set[int]:
    """Return the clients for whom the others wait: they answer `SLOW` times later than the median of the others."""
    times = {int(one["client"]): float(one["answer_ms"]) for one in clients if one.get("answer_ms") is not None}
    slow = set()
    for client, own in times.items():
        others = [other for number, other in times.items() if number != client]
        if others and own > SLOW * median(others):
            slow.add(client)
    return slow
