"""Clients on machines of their own, over gRPC with mutual TLS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sglr.system.extras import require

# All modules of this package need these.
require("sites", "engine", "remote")

# gRPC would write a line of its own for every stranger that knocks; what matters is logged by the server.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

if TYPE_CHECKING:
    from sglr.engines.remote.engine import Remote

__all__ = ["Remote"]


def __getattr__(name: str) -> Any:
    # The engine is the server's; a client, whose modules are in this package too, imports nothing of the server's.
    if name != "Remote":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sglr.engines.remote.engine import Remote

    return Remote
