"""What splitting costs a transformer: tokens in a second at one client, against the same model unsplit.

Steps of both alternate in one process, so that both meet the same machine, and its processor time is measured.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from record import machine, write_result
from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides
from sglr.core.data import Dataset, Samples
from sglr.core.events import Event, StepDone
from sglr.core.trainer import Hooks
from sglr.runs.config import Experiment
from sglr.system.torchvision import load_torchvision

BATCH, STEPS, FIRST = 8, 14, 2
"""Texts of a step; steps, of which the first pay for what is set up once."""
MODELS: dict[str, dict[str, Any]] = {
    "bert": {
        "vocab_size": 30522,
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
    "gpt2": {"vocab_size": 1000, "n_embd": 256, "n_layer": 6, "n_head": 4, "n_positions": 128, "pad_token_id": 0},
}
LENGTHS = {"bert": 48, "gpt2": 64}


def measured(kind: str, attention: str) -> dict[str, Any]:
    """Return milliseconds of a step of both, and the share of tokens in a second that is left."""
    torch.manual_seed(0)
    load_torchvision()  # of torchvision, which the package imports
    library = import_module("transformers")
    config = library.AutoConfig.for_model(kind, num_labels=5, bos_token_id=1, eos_token_id=2, **MODELS[kind])
    model = library.AutoModelForSequenceClassification.from_config(config)
    whole = copy.deepcopy(model).train()
    whole.config._attn_implementation, whole.config.use_cache = attention, False
    samples = texts(config.vocab_size, LENGTHS[kind])
    split, unsplit = alternating(model, whole, samples)
    return {
        "model": kind,
        "attention": attention,
        "split_ms": round(1e3 * split, 1),
        "unsplit_ms": round(1e3 * unsplit, 1),
        "share": round(unsplit / split, 3),
    }


def texts(vocabulary: int, length: int) -> Samples:
    """Texts of which every third is half as long."""
    tokens = torch.randint(4, vocabulary, (BATCH * STEPS, length))
    tokens[::3, length // 2 :] = 0
    return Samples(tokens, torch.arange(len(tokens)) % 5)


def alternating(model: nn.Module, whole: nn.Module, samples: Samples) -> tuple[float, float]:
    """Return the seconds of a split step and of a plain one, by the processor's time."""
    flat = {"clients": 1, "batch_size": BATCH, "epochs": 1, "threads": 1, "method": "psl", "optimizer": "sgd"}
    flat |= {"cut": "layer.1", "validation": 0, "model": "<model>", "dataset": "<texts>", "stacking": "looped"}
    few = Samples(samples.inputs[:BATCH], samples.targets[:BATCH])
    data = Dataset("texts", samples, few, tuple("abcde"))
    training = build(Experiment.from_flat(flat), PartOverrides(model=model, dataset=data))
    optimizer = torch.optim.SGD(whole.parameters(), lr=1e-3)
    split, plain, began = [], [], time.process_time()

    def observe(event: Event) -> None:
        nonlocal began
        if isinstance(event, StepDone):
            middle = time.process_time()
            split.append(middle - began)
            optimizer.zero_grad()
            scores = whole(input_ids=few.inputs, attention_mask=(few.inputs != 0).long()).logits
            F.cross_entropy(scores, few.targets).backward()
            optimizer.step()
            began = time.process_time()
            plain.append(began - middle)

    training.trainer.run(Hooks(observe=observe))
    return statistics.median(split[FIRST:]), statistics.median(plain[FIRST:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write results/split-transformers-cpu.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measured(kind, attention) for kind in MODELS for attention in ("eager", "sdpa")]
    write_result("split-transformers", "cpu", {**machine(), "rows": rows}, keep=arguments.write)


if __name__ == "__main__":
    main()
