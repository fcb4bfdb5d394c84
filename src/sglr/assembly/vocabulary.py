"""Refuse texts whose tokens are not those of the model."""

from __future__ import annotations

import torch
from torch import nn

from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.runs.config import Experiment
from sglr.splitting.transformers import Transformer

FILLED_UP = 0.9
"""Of a pre-trained embedding at least this share has a token: vocabularies are filled up to round numbers, not more."""
REMEDY = "give the model's own tokenizer: leave --tokenizer out where its folder has one"


def check_vocabulary(model: nn.Module, data: ClientData, experiment: Experiment) -> None:
    """Refuse a tokenizer that is not the model's, and tokens that the model doesn't embed.

    Raises
    ------
    UsageError
        If it has more tokens than the embedding, far fewer than a pre-trained one, or another padding.
    """
    if not isinstance(model, Transformer) or model.family.images:
        return
    rows = int(model.base.config.vocab_size)
    if data.encoding.get("kind") != "text":
        _check_tokens(data, rows, experiment.model)
        return
    size, padding = int(data.encoding["size"]), int(data.encoding["padding"])
    name = str(experiment.dataset_parameters.get("tokenizer") or data.encoding["tokenizer"])
    pretrained = experiment.pretrained is not False and experiment.model.startswith("hf:")
    if size > rows or (pretrained and size < FILLED_UP * rows):
        problem = f"has {size} tokens, and model {experiment.model} embeds {rows}"
        raise UsageError("tokenizer", name, problem, REMEDY)
    if model.padding is not None and padding != model.padding:
        problem = f"fills texts up with token {padding}, and model {experiment.model} with {model.padding}"
        raise UsageError("tokenizer", name, problem, REMEDY)


def _check_tokens(data: ClientData, rows: int, model: str) -> None:
    inputs = data.train.inputs
    if not isinstance(inputs, torch.Tensor) or not len(inputs) or inputs.is_floating_point():
        return
    least, most = int(inputs.amin()), int(inputs.amax())
    if least < 0 or most >= rows:
        problem = f"model {model} embeds the tokens 0 to {rows - 1}"
        raise UsageError("inputs", least if least < 0 else most, problem, "give tokens of the model's own tokenizer")
