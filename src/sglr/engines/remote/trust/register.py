"""What an authority has done, on disk: tokens issued, tokens used, and what has been ended.

Each is a fact in a small file of its own that is written once and never changed. So the operator's commands and the
running server need no lock between them, and a crash at any point leaves a true record:

- ``tokens/ID.json``: the token ID was issued, for which client and until when, and its root certificate;
- ``used/ID.pem``: the certificate that its one use gave;
- ``ended/ID.json``: the token and its certificate count no more, and why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from sglr.engines.remote.trust.certificates import pem
from sglr.engines.remote.trust.files import Facts, own_folder

REVOKED, REPLACED = "revoked", "replaced"
"""Why a token and its certificate count no more."""


@dataclass(frozen=True)
class Issued:
    """A token as the server knows it: everything but its secret.

    Parameters
    ----------
    client
        The number of the client that it is for.
    expires
        When it ends.
    root
        The certificate that vouches for its holder, PEM: TLS asks for all of them often, for one of them seldom.
    """

    client: int
    expires: datetime
    root: bytes


class Register:
    """The three kinds of facts, each by the token's id; changes by other processes are seen at once.

    Parameters
    ----------
    folder
        Where one authority's records are; created if missing.
    """

    def __init__(self, folder: Path) -> None:
        own_folder(folder)
        self._tokens = Facts(folder / "tokens", ".json", _read_issued)
        self._used = Facts(folder / "used", ".pem", x509.load_pem_x509_certificate)
        # That the file is there is enough: one that can't be read makes nobody trusted again.
        self._ended = Facts(folder / "ended", ".json", _read_reason, always=REVOKED)

    @property
    def tokens(self) -> Mapping[str, Issued]:
        """All tokens ever issued."""
        return self._tokens.all()

    @property
    def used(self) -> Mapping[str, x509.Certificate]:
        """The certificates that came of them."""
        return self._used.all()

    def issued(self, token: str) -> Issued | None:
        """Return a token that was issued; NotRead if there is a record of it that can't be read."""
        return self._tokens.get(token)

    def certificate(self, token: str) -> x509.Certificate | None:
        """Return the certificate that came of a token; NotRead if there is a record of it that can't be read."""
        return self._used.get(token)

    def require_all(self) -> None:
        """Raise NotRead if it can't be told of some token for which client it is."""
        self._tokens.require_all()

    @property
    def ended(self) -> Mapping[str, str]:
        """Those that count no more, and why: ``"revoked"`` or ``"replaced"``."""
        return self._ended.all()

    def issue(self, token: str, issued: Issued) -> None:
        """Record a new token."""
        expires, root = issued.expires.timestamp(), issued.root.decode()
        self._tokens.add(token, _json(client=issued.client, expires=expires, root=root))

    def use(self, token: str, certificate: x509.Certificate) -> bool:
        """Record a token's one use; say whether this was it."""
        return self._used.add(token, pem(certificate))

    def end(self, token: str, reason: str, now: datetime) -> bool:
        """Record that a token and its certificate count no more; say whether they counted until now."""
        return self._ended.add(token, _json(reason=reason, at=now.timestamp()))


def _json(**values: object) -> bytes:
    return (json.dumps(values, indent=1) + "\n").encode()


def _read_issued(content: bytes) -> Issued:
    values = json.loads(content)
    root = pem(x509.load_pem_x509_certificate(values["root"].encode()))
    return Issued(int(values["client"]), datetime.fromtimestamp(values["expires"], UTC), root)


def _read_reason(content: bytes) -> str:
    try:
        return str(json.loads(content)["reason"])
    except (TypeError, RecursionError) as error:
        raise ValueError("no reason") from error
