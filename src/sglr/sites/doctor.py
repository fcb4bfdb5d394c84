"""Checks of the connection between a client and its server, one after another, each with a remedy."""

from __future__ import annotations

import math
import platform
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import grpc

from sglr.core.errors import SglrError, UsageError
from sglr.data.batch_rule import LOCAL, BatchRule
from sglr.engines.remote.limits import MOST_SAMPLES
from sglr.engines.remote.run_description import PROTOCOL, RunDescription
from sglr.engines.remote.trust import certificates as made
from sglr.engines.remote.trust.clock import now_utc, written
from sglr.engines.remote.trust.connection import check_timeout, parse_address, presented
from sglr.engines.remote.trust.identity import Identity
from sglr.engines.remote.trust.peers import Unreachable, Untrusted
from sglr.engines.remote.trust.token import Token
from sglr.engines.remote.trust.token_holder import TokenHolder
from sglr.engines.remote.wire import probe
from sglr.engines.remote.wire.frames import shown
from sglr.version import __version__

if TYPE_CHECKING:
    from cryptography import x509

OK, PROBLEM, UNKNOWN = "ok", "problem", "not checked"
ECHOES, PAYLOAD = 20, 2 << 20
SKEW_SECONDS = 5.0
SOON = timedelta(days=14)
CHECKS = ("name", "port", "server", "credentials", "clock", "versions", "model", "round trip", "bandwidth")
"""The checks, in their order."""

_NEEDS_CREDENTIALS = "give a join token with --token, or your folder as a client with --folder"


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Parameters
    ----------
    name
        What.
    state
        `OK`, `PROBLEM` or `UNKNOWN`.
    found
        What was found.
    remedy
        What to do about it; empty if nothing is needed.
    """

    name: str
    state: str
    found: str
    remedy: str = ""


class _Blocked(Exception):  # noqa: N818 - no error: what follows can't be looked at
    """A problem that makes further checks pointless."""

    def __init__(self, check: Check) -> None:
        self.check = check


@dataclass
class Patient:
    """A client, or a future one, whose connection is checked.

    Parameters
    ----------
    address
        ``HOST:PORT`` of the server.
    token
        A join token that was not used yet, if there is one.
    folder
        A client's folder, if it has joined.
    model
        ``package.module:function`` of the site's own code, if the run's model is that.
    task
        ``package.module:Name`` of the site's own code, if the run's task is that.
    timeout
        Seconds for each wait.
    clock
        This machine's, in seconds since 1970.
    """

    address: str
    token: str | None = None
    folder: Path | None = None
    model: str | None = None
    timeout: float = 5.0
    clock: Callable[[], float] = time.time
    task: str | None = None
    identity: Identity | None = field(init=False, default=None)
    description: RunDescription | None = field(init=False, default=None)
    _caller: Identity | TokenHolder | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        parse_address(self.address)
        check_timeout(self.timeout)
        self._token = Token.parse(self.token) if self.token else None
        self.identity = Identity.open(self.folder) if self.folder else None
        self._chain: list[x509.Certificate] = []
        self._skew = 0.0

    def examine(self) -> Iterator[Check]:
        """Run one check after another; a check that is not possible is reported as not checked."""
        looks: dict[str, Callable[[], Check]] = {
            "name": self._name,
            "port": self._port,
            "server": self._server,
            "credentials": self._credentials,
            "clock": self._clock,
            "versions": self._versions,
            "model": self._model,
            "round trip": self._round_trip,
            "bandwidth": self._bandwidth,
        }
        blocked, told = "", set[str]()
        for name in CHECKS:
            if blocked:
                yield Check(name, UNKNOWN, f"because of the problem above ({blocked})")
                continue
            try:
                check = looks[name]()
                yield replace(check, remedy="") if check.remedy in told else check
                told.add(check.remedy)
            except _Blocked as error:
                blocked = error.check.name
                yield error.check
            except grpc.RpcError as error:
                yield Check(name, PROBLEM, f"the server does not answer: {shown(error.details() or '')}", "try again")

    def _name(self) -> Check:
        host, port = parse_address(self.address)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            remedy = "check the spelling, ask who runs your DNS, or give the server's IP address"
            raise _Blocked(
                Check("name", PROBLEM, f"{host} has no address here ({error.strerror or error})", remedy)
            ) from None
        addresses = sorted({str(entry[4][0]) for entry in found})
        return Check("name", OK, host if addresses == [host] else f"{host} is {', '.join(addresses)}")

    def _port(self) -> Check:
        host, port = parse_address(self.address)
        began = time.perf_counter()
        try:
            with socket.create_connection((host, port), self.timeout):
                return Check("port", OK, f"open, connected in {1e3 * (time.perf_counter() - began):.1f} ms")
        except ConnectionRefusedError:
            found = "nothing listens there"
            remedy = "is sglr serve running, with --listen on an address that others reach, and the port forwarded?"
        except TimeoutError:
            found = f"no answer within {self.timeout:g} s"
            remedy = f"a firewall drops it: let TCP {port} out here and in at the server"
        except OSError as error:
            found, remedy = str(error.strerror or error), "check this machine's network"
        raise _Blocked(Check("port", PROBLEM, found, remedy))

    def _server(self) -> Check:
        try:
            self._chain = presented(self.address, self.timeout)
        except (Unreachable, Untrusted) as error:
            raise _Blocked(Check("server", PROBLEM, str(error), "is this the port of sglr serve?")) from None
        root = made.fingerprint(self._chain[-1]).hex()
        pinned = self._pinned()
        if pinned is None:
            found = f"speaks TLS; its authority's fingerprint is {root[:16]}…"
            return Check("server", UNKNOWN, found, "give --token or --folder to compare it, or ask the operator")
        if root != pinned:
            found = f"its authority's fingerprint is {root[:16]}…, expected {pinned[:16]}…"
            remedy = "it is another run's server, or someone is in between: ask the operator, send nothing"
            raise _Blocked(Check("server", PROBLEM, found, remedy))
        now = now_utc()
        try:
            made.check_dates(self._chain[0], "the server's certificate", "this machine", now)
        except Untrusted as error:
            return Check("server", PROBLEM, str(error), "set this machine's clock, or restart the server")
        return Check("server", OK, f"the expected server: authority {root[:16]}…")

    def _pinned(self) -> str | None:
        if self.identity is not None:
            return self.identity.fingerprint
        return self._token.fingerprint.hex() if self._token else None

    def _credentials(self) -> Check:
        if self.identity is not None:
            return self._certificate(self.identity)
        if self._token is None:
            return Check("credentials", UNKNOWN, "neither a token nor a client's folder was given", "give one")
        return self._join_token(self._token)

    def _certificate(self, identity: Identity) -> Check:
        until = identity.certificate.not_valid_after_utc
        self._ask(identity)
        found = f"client {identity.client}, let in; its certificate is valid until {written(until)}"
        if until - now_utc() < SOON:
            return Check("credentials", PROBLEM, found, "ask the operator for a new line soon (sglr token)")
        return Check("credentials", OK, found)

    def _join_token(self, token: Token) -> Check:
        self._ask(TokenHolder.at(self._chain[-1], token))
        return Check("credentials", OK, f"the join token is valid until {written(token.expires)}")

    def _ask(self, caller: Identity | TokenHolder) -> None:
        """Ask for the description of the run; later checks use the caller that the server accepted."""
        try:
            with caller.sync_channel(self.address) as channel:
                before = self.clock()
                answer = channel.unary_unary("/sglr.Split/Agreement")(b"", timeout=self.timeout)
                self._skew = (before + self.clock()) / 2
        except grpc.RpcError as error:
            told = shown(error.details() or "") if error.code() != grpc.StatusCode.UNAVAILABLE else ""
            reason = told or str(caller.diagnose(self.address, self.timeout))
            remedy = "ask the operator for a new line (sglr token)"
            raise _Blocked(Check("credentials", PROBLEM, reason, remedy)) from None
        self._caller = caller
        with suppress(SglrError):
            self.description = RunDescription.decode(answer)
            self._skew -= self.description.time

    def _clock(self) -> Check:
        if self.description is None:
            found = f"this machine says {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
            return Check("clock", UNKNOWN, found, _NEEDS_CREDENTIALS)
        ahead = "ahead of" if self._skew > 0 else "behind"
        found = f"{abs(self._skew):.1f} s {ahead} the server's"
        if abs(self._skew) <= SKEW_SECONDS:
            return Check("clock", OK, found)
        remedy = "certificates and tokens may be refused: synchronise both clocks (timedatectl set-ntp true)"
        return Check("clock", PROBLEM, found, remedy)

    def _versions(self) -> Check:
        import torch

        own = f"sglr {__version__}, torch {torch.__version__}, Python {platform.python_version()}"
        if self.description is None:
            if self._caller is not None:
                found = f"the server does not speak version {PROTOCOL} of the protocol, this sglr {__version__} does"
                return Check("versions", PROBLEM, found, "install the server's version of sglr")
            return Check("versions", UNKNOWN, f"here: {own}", _NEEDS_CREDENTIALS)
        if self.description.sglr != __version__:
            found = f"sglr {__version__} here, {self.description.sglr} at the server"
            return Check("versions", PROBLEM, found, f"install sglr {self.description.sglr} here")
        if self.description.torch != torch.__version__:
            found = (
                f"torch {torch.__version__} here, {self.description.torch} at the server: results differ by rounding"
            )
            return Check("versions", OK, found)
        return Check("versions", OK, own)

    def _model(self) -> Check:
        if self.description is None:
            return Check("model", UNKNOWN, "the server's model is not known", _NEEDS_CREDENTIALS)
        from sglr.sites.build_client import own_experiment, own_segments

        try:
            experiment = own_experiment(self.description, self.model, self.task)
            own_segments(self.description, experiment)
        except UsageError as error:
            return Check("model", PROBLEM, f"{error.value}: {error.problem}", error.remedy)
        shape = ",".join(map(str, self.description.cut_shape))
        return Check("model", OK, f"{experiment.model}, the same segment here; a sample is {shape} at the cut")

    def _round_trip(self) -> Check:
        if self._caller is None:
            return Check("round trip", UNKNOWN, "", _NEEDS_CREDENTIALS)
        times = sorted(self._send(64, 64, ECHOES))
        found = f"{1e3 * median(times):.1f} ms (median of {ECHOES}, longest {1e3 * times[-1]:.1f} ms)"
        return Check("round trip", OK, found)

    def _bandwidth(self) -> Check:
        if self._caller is None:
            return Check("bandwidth", UNKNOWN, "", _NEEDS_CREDENTIALS)
        trip = median(self._send(64, 64, 5))
        up, down = (PAYLOAD / max(1e-6, min(self._send(*sizes, 2)) - trip) for sizes in ((PAYLOAD, 64), (64, PAYLOAD)))
        found = f"{_rate(up)} up, {_rate(down)} down"
        values = None if self.description is None else values_per_step(self.description)
        if values is None:
            return Check("bandwidth", OK, found)
        size = 4 * values
        seconds = trip + size / up + size / down
        return Check("bandwidth", OK, f"{found}: a step's {size / 1e3:,.0f} kB each way take {1e3 * seconds:,.0f} ms")

    def _send(self, up: int, down: int, times: int) -> list[float]:
        """Return the seconds of several messages, after a first one that opens the connection."""
        assert self._caller is not None
        longest = [("grpc.max_receive_message_length", 2 * probe.MOST_BYTES)]
        with self._caller.sync_channel(self.address, longest) as channel:
            call = channel.unary_unary(probe.PROBE)
            call(probe.request(64, 64), timeout=self.timeout)
            seconds = []
            for _ in range(times):
                began = time.perf_counter()
                call(probe.request(up, down), timeout=60 + self.timeout)
                seconds.append(time.perf_counter() - began)
        return seconds


def values_per_step(description: RunDescription) -> int | None:
    """Return how many values a client sends in a step, on average; None if the run states no batch size that can be."""
    batch = description.settings.get("batch_size")
    with suppress(UsageError):
        together = BatchRule.parse(str(description.settings.get("batching", LOCAL))).together
        if together is not None:
            batch = max(1, together // description.clients)
    return batch * math.prod(description.cut_shape) if type(batch) is int and 0 < batch <= MOST_SAMPLES else None


def _rate(bytes_per_second: float) -> str:
    bits = 8 * bytes_per_second
    return f"{bits / 1e9:.1f} Gbit/s" if bits >= 1e9 else f"{bits / 1e6:.3g} Mbit/s"
