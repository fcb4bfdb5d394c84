"""How many samples a step takes, in words."""

from __future__ import annotations

from typing import Any

import pytest

from sglr.report.batch_words import batch_words


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 8}, "8 samples of each client per step"),
        ({"batch_size": 1, "batching": "local"}, "1 sample of each client per step"),
        ({"batch_size": 8, "batching": "global:1600"}, "1,600 samples per step, drawn from all clients' data together"),
        ({"batch_size": 8, "batching": "global"}, "8 samples for each client per step, drawn from all clients' data"),
        ({"batch_size": 8, "batching": "proportional:samples=80"}, "80 samples per step, of each by its share"),
        ({"batch_size": 8, "batching": "clock:3"}, "8 samples per step of each client that is ready, on a simulated"),
        ({"batch_size": "many", "batching": "?"}, "0 samples of each client per step"),
    ],
)
def test_the_samples_of_a_step(settings: dict[str, Any], words: str) -> None:
    assert batch_words(settings).startswith(words)
