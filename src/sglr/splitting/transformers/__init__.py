"""Transformers of the package transformers, cut between their blocks."""

from __future__ import annotations

from torch import nn

from sglr.splitting.transformers.encoder_decoder import EncoderDecoder
from sglr.splitting.transformers.families import FAMILIES, Family, family_named, family_of
from sglr.splitting.transformers.part import Transformer

__all__ = ["FAMILIES", "EncoderDecoder", "Family", "Transformer", "as_transformer", "family_named", "transformer_of"]


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
    return transformer_of(model, outputs, getattr(config, "pad_token_id", None))


def transformer_of(model: nn.Module, outputs: int | None = None, padding: int | None = None) -> Transformer:
    """Return a model of a known family as one that is cut; parameters and errors are those of `Transformer`."""
    kind = EncoderDecoder if family_of(model).decodes else Transformer
    return kind(model, outputs, padding)
