"""Transformers of the package transformers, cut between their blocks."""

from __future__ import annotations

from torch import nn

from sglr.splitting.transformers.families import FAMILIES, Family, family_named
from sglr.splitting.transformers.part import Transformer

__all__ = ["FAMILIES", "Family", "Transformer", "as_transformer", "family_named"]


def as_transformer(model: nn.Module, outputs: int) -> nn.Module:
    """Return a model of the package transformers as one that is cut between its blocks; others as they are.

    Parameters
    ----------
    model
        Any model. One of a known family is used, not copied.
    outputs
        K, as of `Transformer`.
    """
    config = getattr(model, "config", None)
    kind = getattr(config, "model_type", None)
    if not type(model).__module__.startswith("transformers.") or kind not in FAMILIES:
        return model
    return Transformer(model, outputs, getattr(config, "pad_token_id", None))
