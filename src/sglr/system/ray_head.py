"""Ask the head of a Ray cluster whether it is there and takes this process's token, before Ray itself tries.

Ray would try for half a minute and fill the terminal meanwhile; this asks once what Ray asks first.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from sglr.core.errors import UsageError

log = logging.getLogger(__name__)

FIELD = "ray_address"
AUTO = "auto"
"""The address of whatever Ray runs on this machine, or the one in ``RAY_ADDRESS``."""

ANSWER_SECONDS = 5.0
"""How long the head may take to answer."""

_HOST_AND_PORT = re.compile(r"\[?[\w.:-]+\]?:\d{1,5}")
_FIRST_QUESTION = "/ray.rpc.NodeInfoGcsService/GetClusterId"


def check_form(address: str) -> None:
    """Refuse what is no address.

    Raises
    ------
    UsageError
        If it is neither ``auto`` nor ``HOST:PORT``.
    """
    if address == AUTO:
        return
    if address.startswith("ray://"):
        problem = "through a Ray client every tensor would cross the network twice more"
        remedy = "run sglr on a machine of the cluster, as with ray job submit, and give auto"
        raise UsageError(FIELD, address, problem, remedy)
    if not _HOST_AND_PORT.fullmatch(address) or not 0 < int(address.rpartition(":")[2]) < 65536:
        raise UsageError(FIELD, address, "is no address", "give auto, or HOST:PORT as ray start prints it")


def check_head(ray: Any, address: str) -> None:
    """Ask the head at ``address`` for its cluster's id; warn if it tells anyone.

    Raises
    ------
    UsageError
        If nobody answers, somebody else than Ray does, or the token is refused.
    """
    try:
        at = ray._private.services.canonicalize_bootstrap_address(address)
    except Exception as error:  # Ray raises many kinds, for names that are not known too
        raise nobody(address, str(error)) from error
    if at is None:
        raise nobody(address, "none runs on this machine")
    refused = ask(ray, at)
    if refused is None:
        warn_if_open(ray, at)
        return
    if "UNAUTHENTICATED" in refused:
        problem = "the cluster refuses this process's token, or its lack of one"
        remedy = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, as on the cluster"
        raise UsageError(FIELD, address, problem, remedy)
    raise nobody(address, refused)


def warn_if_open(ray: Any, address: str) -> None:
    """Warn of a cluster that answers who has no token: Ray runs any code that it is sent."""
    if ask(ray, address, as_stranger=True) is None:
        log.warning(
            "the Ray at %s wants no token: whoever reaches its ports can run code on every machine of the cluster, and "
            "read what is trained there; start it with RAY_AUTH_MODE=token (docs/scaling.md)",
            address,
        )


def ask(ray: Any, address: str, *, as_stranger: bool = False) -> str | None:
    """Ask the head for its cluster's id, with this process's token or as a stranger; return why there is no answer.

    Returns
    -------
    str or None
        None if there is an answer.
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
    """Return the beginning of what Ray says, in one line."""
    return " ".join(text.split())[:200].rstrip(". ")
