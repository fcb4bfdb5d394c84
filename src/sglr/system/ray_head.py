"""Check that the head of a Ray cluster answers and accepts this process's token, before Ray itself connects.

Ray would retry for half a minute and fill the terminal; this sends Ray's first request once.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from sglr.core.errors import UsageError

log = logging.getLogger(__name__)

FIELD = "ray_address"
AUTO = "auto"
"""The address of the Ray running on this machine, or the one in ``RAY_ADDRESS``."""

ANSWER_SECONDS = 5.0
"""Timeout for the head's answer."""

_HOST_AND_PORT = re.compile(r"\[?[\w.:-]+\]?:\d{1,5}")
_FIRST_QUESTION = "/ray.rpc.NodeInfoGcsService/GetClusterId"


def check_form(address: str) -> None:
    """Refuse invalid addresses.

    Raises
    ------
    UsageError
        If it is neither ``auto`` nor ``HOST:PORT``.
    """
    if address == AUTO:
        return
    if address.startswith("ray://"):
        problem = "with a Ray client every tensor would cross the network two more times"
        remedy = "run sglr on a machine of the cluster, e.g. by ray job submit, and give auto"
        raise UsageError(FIELD, address, problem, remedy)
    if not _HOST_AND_PORT.fullmatch(address) or not 0 < int(address.rpartition(":")[2]) < 65536:
        raise UsageError(FIELD, address, "invalid address", "give auto, or HOST:PORT as printed by ray start")


def check_head(ray: Any, address: str) -> None:
    """Ask the head at ``address`` for its cluster's id; warn if it answers without a token.

    Raises
    ------
    UsageError
        If nothing answers, the answer is not Ray's, or the token is refused.
    """
    try:
        at = ray._private.services.canonicalize_bootstrap_address(address)
    except Exception as error:  # Ray raises many kinds, also for unknown host names
        raise nobody(address, str(error)) from error
    if at is None:
        raise nobody(address, "Ray is not running on this machine")
    refused = ask(ray, at)
    if refused is None:
        warn_if_open(ray, at)
        return
    if "UNAUTHENTICATED" in refused:
        problem = "the cluster refuses this process's token, or requires one"
        remedy = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, as on the cluster"
        raise UsageError(FIELD, address, problem, remedy)
    raise nobody(address, refused)


def warn_if_open(ray: Any, address: str) -> None:
    """Warn about a cluster that answers without a token: Ray runs any code that it receives."""
    if ask(ray, address, as_stranger=True) is None:
        log.warning(
            "the Ray at %s requires no token: anyone who can reach its ports can run code on every machine of the "
            "cluster and read what is trained there; start it with RAY_AUTH_MODE=token (docs/scaling.md)",
            address,
        )


def ask(ray: Any, address: str, *, as_stranger: bool = False) -> str | None:
    """Ask the head for its cluster's id, with or without this process's token; return the reason if it fails.

    Returns
    -------
    str or None
        None if it answers.
    """
    import grpc

    loader = ray._raylet.AuthenticationTokenLoader.instance()
    token = loader.get_token_for_http_header() if loader.has_token() and not as_stranger else {}
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(_FIRST_QUESTION)(b"", timeout=ANSWER_SECONDS, metadata=tuple(token.items()))
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return None


def nobody(address: str, reason: str) -> UsageError:
    """Build the error for an address where no Ray answers."""
    remedy = "start one with ray start --head, or leave --ray-address out to start Ray here"
    return UsageError(FIELD, address, f"no Ray answers there ({in_short(reason)})", remedy)


def in_short(text: str) -> str:
    """Return the beginning of Ray's error message, in one line."""
    return " ".join(text.split())[:200].rstrip(". ")
