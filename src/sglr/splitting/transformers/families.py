"""What models of the package transformers look like: where their blocks, embeddings and last normalisation are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from sglr.core.errors import UsageError


@dataclass(frozen=True)
class Family:
    """How the base models of one family are built; names are those of submodules of the base model.

    Parameters
    ----------
    layers
        The list of blocks.
    embeddings
        What makes the first hidden states of inputs.
    norm
        The last normalisation; empty if blocks end with their own.
    causal
        Whether a position sees only those before it and itself.
    masks
        ``"one"`` if all blocks take the same mask, ``"by_type"`` if the model takes one for each type of block.
    whole_embedding
        Whether `embeddings` is one module that also takes hidden states that are embedded already.
    learnt_positions
        Whether each position has a vector of its own, so that texts can't be longer than there are.
    positions_after_padding
        Whether positions are counted from the number behind the padding's.
    images
        Whether inputs are images.
    decodes
        Whether a decoder reads what the encoder made; the blocks are the encoder's.
    """

    layers: str
    embeddings: tuple[str, ...]
    norm: str = ""
    causal: bool = False
    masks: str = "one"
    whole_embedding: bool = False
    learnt_positions: bool = False
    positions_after_padding: bool = False
    images: bool = False
    decodes: bool = False


_BERT = Family("encoder.layer", ("embeddings",), whole_embedding=True, learnt_positions=True)
_ROBERTA = replace(_BERT, positions_after_padding=True)
_LLAMA = Family("layers", ("embed_tokens",), "norm", causal=True)
_BY_TYPE = Family("layers", ("embed_tokens",), "norm", causal=True, masks="by_type")

_T5 = Family("encoder.block", ("encoder.embed_tokens",), "encoder.final_layer_norm", decodes=True)

FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": replace(_BERT, layers="transformer.layer"),
    "gpt2": Family("h", ("wte", "wpe", "drop"), "ln_f", causal=True, learnt_positions=True),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _BY_TYPE,
    "qwen2": _BY_TYPE,
    "qwen3": _BY_TYPE,
    "bart": Family("encoder.layers", ("encoder.embed_tokens",), learnt_positions=True, decodes=True),
    "t5": _T5,
    "mt5": _T5,
    "vit": Family("layers", ("embeddings",), "layernorm", whole_embedding=True, images=True),
}
"""Families by the ``model_type`` of their ``config.json``."""

ENCODERS_AND_DECODERS = ("mbart", "marian", "pegasus", "umt5", "led", "whisper")


def family_of(model: nn.Module) -> Family:
    """Return the family of a model of the package transformers.

    Raises
    ------
    UsageError
        If it is of another one.
    """
    return family_named(str(getattr(getattr(model, "config", None), "model_type", type(model).__name__)))


def family_named(kind: str) -> Family:
    """Return the family with this ``model_type``.

    Raises
    ------
    UsageError
        If there is none.
    """
    if kind in FAMILIES:
        return FAMILIES[kind]
    problem = f"models of the type {kind} can't be cut"
    if kind in ENCODERS_AND_DECODERS:
        problem = f"{problem}: of those with an encoder and a decoder, bart, t5 and mt5 can"
    raise UsageError("model", kind, problem, f"give one of the types {', '.join(sorted(FAMILIES))}")
