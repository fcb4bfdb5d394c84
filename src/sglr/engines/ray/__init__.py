"""Clients in blocks, spread over the processors or GPUs of a Ray cluster."""

from __future__ import annotations

from sglr.engines.ray.engine import Ray

__all__ = ["Ray"]
