"""Transformers of Hugging Face are exported for batches of any size, with padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.some_transformers import LABELS, model_of, texts_of

import sglr
from sglr.core.data import Dataset, Samples
from sglr.exporting.formats.torch import Torch
from sglr.exporting.pieces import Piece
from sglr.exporting.trace import traced
from sglr.splitting.transformers import Transformer, transformer_of

TEXTS = torch.cat([texts_of(0, seed) for seed in range(8)])


@pytest.mark.parametrize("kind", ["bert", pytest.param("qwen3", marks=pytest.mark.slow)])
def test_a_client_s_part_takes_batches_of_any_size(kind: str) -> None:
    lower = Transformer(model_of(kind).requires_grad_(False), padding=0).cut_behind(1)[0].eval()
    piece = Piece("client", "client", None, lower, lower, TEXTS[:8], "data", "smashed data")
    runs: Any = traced(piece, Torch(), kind).module()
    for size in (1, 2, 7):
        found, wanted = runs(TEXTS[:size]), lower(TEXTS[:size])
        assert torch.equal(found["hidden"], wanted["hidden"])
        assert torch.equal(found["mask"], wanted["mask"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "form", "settings"),
    [
        ("bert", "onnx", {"compression": "int8"}),
        ("distilbert", "torch", {}),
        ("gpt2", "onnx", {}),
        ("llama", "torch", {"lora": "r=2,targets=q_proj"}),
        ("t5", "torch", {}),
    ],
)
def test_a_trained_transformer_is_exported_and_checked(
    kind: str, form: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    targets = TEXTS[:, 0] % LABELS
    data = Dataset("texts", Samples(TEXTS[:18], targets[:18]), Samples(TEXTS[18:], targets[18:]), tuple("abc"))
    model = transformer_of(model_of(kind), padding=0)
    given = {"cut": "layer.1", "clients": 2, "epochs": 1, "batch_size": 4, "out": tmp_path / "run", **settings}
    run = sglr.train("sfl", model=model, dataset=data, **given)
    done = sglr.export(run.path, tmp_path / form, format=form, model=model, data=TEXTS)
    assert {file.metadata["segment"] for file in done.files} == {"client", "server", "joined"}
    assert done.largest_difference < 1e-4 or settings
