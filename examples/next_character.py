"""Learn to write like Python's own documentation, character by character, from three clients who each have a part."""

from __future__ import annotations

from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor

import sglr

LENGTH, CHARACTERS = 48, 40_000
SETTINGS: dict[str, Any] = {"task": "language", "model": "transformer", "batch_size": 8, "lr": 3e-3}


def main() -> None:
    text = "".join(topics[name] for name in sorted(topics))[:CHARACTERS]
    alphabet = sorted(set(text))
    # Of LENGTH + 1 characters the network sees all but the last, and is to tell all but the first.
    windows = torch.tensor([alphabet.index(character) for character in text]).unfold(0, LENGTH + 1, LENGTH)
    held_out = torch.arange(len(windows)) % 6 == 0
    data = sglr.Dataset(
        "documentation",
        samples(windows[~held_out]),
        samples(windows[held_out]),
        targets=sglr.Targets(tuple(alphabet), (LENGTH,), "int64", len(alphabet)),
    )
    print(f"{len(text)} characters, {len(alphabet)} of them different: the perplexity of a network that knows nothing")
    central = train("all text in one place", "cl", data, epochs=4)
    split = train("three clients", "sglr", data, epochs=8, clients=3)
    print(f"perplexity against the same network on all text: {split - central:+.2f}")


def samples(windows: Tensor) -> sglr.Samples:
    return sglr.Samples(windows[:, :-1], windows[:, 1:])


def train(what: str, method: str, data: sglr.Dataset, **settings: Any) -> float:
    run = sglr.train(method, dataset=data, **SETTINGS, **settings)
    assert run.summary is not None
    scores = {name: score["mean"] for name, score in run.summary["test"]["scores"].items()}
    right = f"{100 * scores['token_accuracy']:.0f} % of the next characters right"
    print(f"{what:22} perplexity {scores['perplexity']:5.2f}, {right}   {run.path / 'report.html'}")
    return float(scores["perplexity"])


if __name__ == "__main__":
    main()
