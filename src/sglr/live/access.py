"""Who may see the page, and who may stop a run with it.

On this machine's loopback everyone may look; anywhere else only who has the token, which the page's address holds once,
and a cookie from then on. To stop a run the token is needed everywhere, and the request must come from the page itself.
"""

from __future__ import annotations

import hmac
import platform
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from sglr.system.loopback import is_loopback

PAGE_HEADER = "x-sglr-page"
"""The header with the secret that only the page itself can read."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer."""


def new_token() -> str:
    """Return a token that can't be guessed."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True)
class Access:
    """The rules of one page.

    Parameters
    ----------
    host, port
        Where it listens.
    token
        The secret in the page's address.
    page
        The secret that the page sends along with a request to stop.
    """

    host: str
    port: int
    token: str = field(repr=False)
    page: str = field(default_factory=new_token, repr=False)

    @property
    def cookie(self) -> str:
        """The cookie's name; cookies of one machine are shared by all ports."""
        return f"sglr_page_{self.port}"

    @property
    def address(self) -> str:
        """The page's address, with the token; of a page on every interface by the machine's name."""
        host = platform.node() if self.host in ("0.0.0.0", "::") else self.host
        name = f"[{host}]" if ":" in host else host
        return f"http://{name}:{self.port}/?token={self.token}"

    def is_token(self, given: str) -> bool:
        """Return whether this is the token, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(given.encode(), self.token.encode())

    def holds_token(self, cookies: str) -> bool:
        """Return whether a ``Cookie`` header holds the token."""
        try:
            found = SimpleCookie(cookies).get(self.cookie)
        except CookieError:
            return False
        return found is not None and self.is_token(found.value)

    def may_look(self, cookies: str) -> bool:
        """Return whether the page is shown."""
        return is_loopback(self.host) or self.holds_token(cookies)

    def knows_host(self, host: str) -> bool:
        """Return whether a ``Host`` header names this page.

        On loopback another name means that a foreign page had its own name resolved to this machine. Elsewhere the
        machine may have any name, and the cookie, which belongs to one name, protects.
        """
        if not is_loopback(self.host):
            return True
        return _hostname(host) in {"localhost", "127.0.0.1", "::1", self.host}

    def refusal_of_stop(self, headers: Mapping[str, str]) -> str:
        """Return why a request to stop is refused; empty if it comes from the page of somebody with the token."""
        if not self.holds_token(headers.get("cookie", "")):
            return "open the page by the address that sglr printed: it holds the token that stopping needs"
        origin = urlsplit(headers.get("origin", ""))
        if not origin.netloc or origin.netloc != headers.get("host", ""):
            return "the request came from another site"
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return "the request came from another site"
        if not hmac.compare_digest(headers.get(PAGE_HEADER, "").encode(), self.page.encode()):
            return "the request did not come from the page"
        return ""


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
