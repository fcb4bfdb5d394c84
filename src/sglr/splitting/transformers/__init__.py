"""Transformers of the package transformers, cut between their blocks."""

from __future__ import annotations

from sglr.splitting.transformers.families import FAMILIES, family_named
from sglr.splitting.transformers.part import Transformer

__all__ = ["FAMILIES", "Transformer", "family_named"]
