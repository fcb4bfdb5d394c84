"""Who can be at the other end of a connection, and the two ways in which that fails."""

from __future__ import annotations

from dataclasses import dataclass

from sglr.core.errors import SglrError


class Untrusted(SglrError):  # noqa: N818 - a state of affairs, as it is said
    """The other side does not believe who we are, or we do not believe who it is: trying again changes nothing."""


class OutOfDate(Untrusted):
    """A certificate does not count at this moment, by somebody's clock, which may be wrong."""


class Unreachable(SglrError):  # noqa: N818 - as above
    """There was no answer: trying again later may help."""


@dataclass(frozen=True)
class Client:
    """An enrolled client, as its certificate says.

    Parameters
    ----------
    number
        Which client of the run it is.
    serial
        The serial number of its certificate; another certificate of the same client has another.
    """

    number: int
    serial: int


@dataclass(frozen=True)
class Applicant:
    """Someone who holds a join token, and may do nothing but enrol.

    Parameters
    ----------
    token
        The token's id, which is no secret.
    number
        The client that the token is for.
    """

    token: str
    number: int
