"""Clients on machines of their own, over gRPC with mutual TLS."""

from __future__ import annotations

import os

# gRPC would write a line of its own for every stranger that knocks; what matters is logged by the server.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from sglr.engines.remote.engine import Remote

__all__ = ["Remote"]
