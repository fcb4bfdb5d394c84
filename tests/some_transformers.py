"""Tiny transformers of every family that can be cut, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from sglr.splitting.transformers import FAMILIES
from sglr.system.torchvision import load_torchvision

load_torchvision()

import transformers  # noqa: E402 - it imports torchvision

TOKENS, BLOCKS, LABELS = 60, 4, 3
TEXTS = sorted(kind for kind, family in FAMILIES.items() if not (family.images or family.decodes))
DECODING = sorted(kind for kind, family in FAMILIES.items() if family.decodes)
HEADS = ("classification", "tokens", "language")
WORDS = [f"w{number}" for number in range(4, TOKENS)]
"""Of the tokenizers that folders have, in the order of their tokens."""

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
BART = {"layers": BLOCKS, "attention_heads": 2, "ffn_dim": 32}
OWN_SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": BLOCKS, "n_head": 2, "n_positions": 64},
    "distilbert": {"dim": 16, "n_layers": BLOCKS, "n_heads": 2, "hidden_dim": 32},
    **{
        kind: {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": BLOCKS, "num_decoder_layers": 2, "num_heads": 2}
        for kind in ("t5", "mt5")
    },
    "bart": {
        "d_model": 16,
        **{f"{part}_{what}": size for part in ("encoder", "decoder") for what, size in BART.items()},
        "decoder_layers": 2,
    },
}
DECODERS = ("llama", "mistral", "gemma", "gemma2", "qwen2", "qwen3")
FURTHER: dict[str, dict[str, Any]] = {
    **{kind: {"num_key_value_heads": 1, "head_dim": 8} for kind in DECODERS},
    "roberta": {"pad_token_id": 1},
    "camembert": {"pad_token_id": 1},
    "xlm-roberta": {"pad_token_id": 1},
    **{kind: {"decoder_start_token_id": 0} for kind in ("t5", "mt5")},
    "bart": {"pad_token_id": 1, "decoder_start_token_id": 3, "forced_eos_token_id": 3},
}
WINDOWS: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 4},
    "gemma2": {"sliding_window": 4},
    "qwen2": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2},
}


def config_of(kind: str, **changed: Any) -> Any:
    """Settings of a tiny model of a family."""
    sizes = OWN_SIZES.get(kind, SIZES)
    ends = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    texts = {"vocab_size": TOKENS, "max_position_embeddings": 64, **ends, **FURTHER.get(kind, {})}
    if kind in ("gpt2", "t5", "mt5"):
        del texts["max_position_embeddings"]
    given = {"image_size": 8, "patch_size": 4, "num_channels": 1} if kind == "vit" else texts
    given |= WINDOWS.get(kind, {})
    return transformers.AutoConfig.for_model(kind, num_labels=LABELS, **{**sizes, **given, **changed})


def model_of(kind: str, head: str = "classification", seed: int = 0, **changed: Any) -> Any:
    """A tiny model of a family in evaluation mode, with the attention that sglr computes and no cache."""
    if kind == "vit":
        maker = transformers.AutoModelForImageClassification
    elif head == "language" and FAMILIES[kind].decodes:
        maker = transformers.AutoModelForSeq2SeqLM
    elif head == "language":
        maker = transformers.AutoModelForCausalLM if FAMILIES[kind].causal else transformers.AutoModelForMaskedLM
    else:
        maker = {
            "classification": transformers.AutoModelForSequenceClassification,
            "tokens": transformers.AutoModelForTokenClassification,
        }[head]
    torch.manual_seed(seed)
    config = config_of(kind, **changed)
    model = maker.from_config(config, attn_implementation="eager").eval()
    model.config.use_cache = False
    return model.to(torch.get_default_dtype())


def texts_of(padding: int, seed: int = 0) -> torch.Tensor:
    """Three texts of 9, 6 and 3 tokens, filled up."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, TOKENS, (3, 9), generator=generator)
    tokens[1, 6:], tokens[2, 3:] = padding, padding
    return tokens


def folder_of(kind: str, place: Path, *, weights: bool = True, tokenizer: bool = True, **changed: Any) -> Path:
    """A model's folder, as its ``save_pretrained`` and its tokenizer's write it."""
    folder = place / kind
    folder.mkdir(parents=True)
    if weights:
        model_of(kind, **changed).save_pretrained(folder)
    else:
        config_of(kind, **changed).save_pretrained(folder)
    if tokenizer:
        vocabulary = {"[PAD]": 0, "[UNK]": 1, "[B]": 2, "[E]": 3} | {word: n for n, word in enumerate(WORDS, 4)}
        made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        made.save(str(folder / "tokenizer.json"))
    return folder


def written(root: Path, each: int = 24) -> Path:
    """Write texts of two classes, of which one has the first words and one the last; return their folder."""
    rng = np.random.default_rng(0)
    for name, words in (("first", WORDS[:20]), ("last", WORDS[-20:])):
        (root / name).mkdir(parents=True)
        for number in range(each):
            (root / name / f"{number:02}.txt").write_text(" ".join(rng.choice(words, rng.integers(3, 9))))
    return root
