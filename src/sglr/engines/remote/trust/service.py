"""The server's side of trust: TLS that takes clients and applicants on one port, enrolment, and who is calling."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NoReturn

import grpc
import grpc.aio

from sglr.core.errors import NotRead
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.peers import Applicant, Client, Untrusted

_log = logging.getLogger(__name__)

SERVICE = "sglr.Split"
# A token needs one attempt, or a few when answers are lost.
_ATTEMPTS, _PERIOD_S = 10, 60.0


def server_credentials(authority: Authority) -> grpc.ServerCredentials:
    """Return TLS credentials that require a certificate: of this run's authority, or of an outstanding token.

    Tokens that are issued or revoked while the server runs count from the next handshake on.
    """
    current = authority.roots()

    def configuration() -> grpc.ServerCertificateConfiguration:
        pair = (authority.server_key, authority.server_chain)
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=current)

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal current
        roots = authority.roots()
        # With a thousand tokens, building a configuration takes 0.2 s; keeping one, nothing.
        if roots == current:
            return None
        current = roots
        return configuration()

    return grpc.dynamic_ssl_server_credentials(configuration(), changed, require_client_authentication=True)


async def peer_of(context: grpc.aio.ServicerContext, authority: Authority) -> Client:
    """Return which client is calling, by its certificate; end the call if it is none.

    An unknown, expired or revoked certificate ends it with UNAUTHENTICATED, an applicant's with PERMISSION_DENIED.
    """
    peer = await caller_of(context, authority)
    if isinstance(peer, Applicant):
        await _refuse(
            context, grpc.StatusCode.PERMISSION_DENIED, "a join token serves only to enrol and to ask what the run is"
        )
    return peer


def enrolment(authority: Authority) -> grpc.GenericRpcHandler:
    """Return the handler of ``/sglr.Split/Enrol``, bytes to bytes: a certificate request for a certificate (PEM)."""
    attempts = Attempts()

    # As a stream, so that nothing is read before it is known who calls; on the wire it is the same.
    async def enrol(messages: object, context: grpc.aio.ServicerContext) -> None:
        del messages
        peer = await caller_of(context, authority)
        if isinstance(peer, Client):
            await _refuse(context, grpc.StatusCode.PERMISSION_DENIED, f"client {peer.number} is enrolled already")
        if not attempts.allow(peer.token):
            await _refuse(
                context, grpc.StatusCode.RESOURCE_EXHAUSTED, "too many attempts with this token; wait a minute"
            )
        request = await context.read()
        try:
            # It waits for the disk: other calls go on.
            answer = await asyncio.to_thread(authority.enrol, peer, b"" if request is grpc.aio.EOF else request)
            await context.write(answer)
        except Untrusted as error:
            await _refuse(context, grpc.StatusCode.PERMISSION_DENIED, str(error))
        except (NotRead, OSError) as error:
            _log.warning("%s", error)
            await _refuse(context, grpc.StatusCode.UNAVAILABLE, "the server can't use its records; try again")

    return grpc.method_handlers_generic_handler(SERVICE, {"Enrol": grpc.stream_stream_rpc_method_handler(enrol)})


class Attempts:
    """Count attempts by name, and allow so many a minute.

    Parameters
    ----------
    most
        How many.
    now
        A clock in seconds that never goes back.
    """

    def __init__(self, most: int = _ATTEMPTS, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._now = most, now
        self._counts: dict[str, int] = {}
        self._since = now()

    def allow(self, name: str, count: int = 1) -> bool:
        """Count an attempt, or ``count`` of them; say whether it may go on."""
        if self._now() - self._since > _PERIOD_S:
            self._counts.clear()
            self._since = self._now()
        self._counts[name] = self._counts.get(name, 0) + count
        return self._counts[name] <= self._most

    @property
    def renewed_in(self) -> float:
        """Seconds until all counts begin again."""
        return max(0.0, _PERIOD_S - (self._now() - self._since))


async def caller_of(context: grpc.aio.ServicerContext, authority: Authority) -> Client | Applicant:
    """Return who is calling, a client or the holder of a join token; end the call with UNAUTHENTICATED if neither.

    Where the records can't be read it ends with UNAVAILABLE.
    """
    presented = context.auth_context().get("x509_pem_cert")
    if not presented:
        await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, "no certificate")
    try:
        return authority.identify(presented[0])
    except Untrusted as error:
        await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, str(error))
    except NotRead as error:  # who it is may show later: nobody is let in, and nobody sent away for good
        _log.warning("%s", error)
        await _refuse(context, grpc.StatusCode.UNAVAILABLE, "the server can't read its records; try again")


async def _refuse(context: grpc.aio.ServicerContext, code: grpc.StatusCode, reason: str) -> NoReturn:
    await context.abort(code, reason)
    raise AssertionError("abort raises")
