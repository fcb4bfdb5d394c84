"""Frozen embeddings are warned of: right behind one, each position of what crosses tells its own token."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.some_transformers import LABELS, model_of, texts_of
from torch import nn

import sglr
from sglr.assembly.readable_tokens import readable_tokens
from sglr.models.transformer import Transformer as BuiltIn
from sglr.splitting import split
from sglr.splitting.transformers import Transformer


def lower_of(model: nn.Module, cut: str, tokens: torch.Tensor) -> nn.Module:
    return split(model, cut, tokens).lower


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize(("cut", "warned"), [("embeddings", "each token alone"), ("layer.0", "read 99 %")])
def test_cuts_behind_a_frozen_embedding_are_warned_of(kind: str, cut: str, warned: str) -> None:
    tokens = texts_of(0)
    model = Transformer(model_of(kind), padding=0)
    assert readable_tokens(lower_of(model, cut, tokens), tokens) == ""  # nothing is frozen
    model.requires_grad_(False)
    assert warned in readable_tokens(lower_of(model, cut, tokens), tokens)


def test_built_in_transformer_and_other_inputs() -> None:
    tokens = torch.randint(0, 9, (2, 6))
    model = BuiltIn((6,), 9)
    model.requires_grad_(False)
    assert "each token alone" in readable_tokens(lower_of(model, "embed", tokens), tokens)
    assert "read 99 %" in readable_tokens(lower_of(model, "block1", tokens), tokens)
    assert not readable_tokens(lower_of(model, "embed", tokens), tokens[:0])
    assert not readable_tokens(nn.Linear(6, 2).requires_grad_(False), torch.rand(2, 6))


def test_a_training_tells_it_once(tmp_path: Path, caplog: Any) -> None:
    model = Transformer(model_of("bert"), padding=0)
    model.model.bert.embeddings.requires_grad_(False)
    inputs = torch.cat([texts_of(0, seed) for seed in range(8)])
    targets = inputs[:, 0] % LABELS
    parts = sglr.Samples(inputs[:18], targets[:18]), sglr.Samples(inputs[18:], targets[18:])
    data = sglr.Dataset("texts", *parts, tuple("abc"))
    with caplog.at_level(logging.WARNING):
        sglr.train("psl", model=model, dataset=data, cut="embeddings", clients=2, epochs=1, out=tmp_path / "run")
    assert caplog.text.count("each token alone") == 1
