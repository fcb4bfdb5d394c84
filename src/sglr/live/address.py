"""Where the page listens, as it is written."""

from __future__ import annotations

from sglr.core.errors import UsageError


def parse_listen(field: str, address: str) -> tuple[str, int]:
    """Split ``HOST:PORT`` or ``[IPV6]:PORT``; port 0 is any that is free.

    Raises
    ------
    UsageError
        If it is neither.
    """
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host == f"[{bare}]"
    if not bare or (":" in bare) != bracketed or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(field, address, "is not HOST:PORT", "write e.g. 127.0.0.1:8765")
    return bare, int(port)
