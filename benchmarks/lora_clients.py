"""Tokens a second of processor time, 20 clients with adapters against one: the built-in transformer on made-up text.

All clients together do 20 times the one client's work. Rounds alternate, and the fastest counts.

    python benchmarks/lora_clients.py --write
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import sglr
from record import machine, write_result
from sglr.core.data import Dataset, Samples

LENGTH, TOKENS, BATCH, STEPS, EPOCHS = 64, 96, 8, 12, 3
LORA = "r=8,alpha=16,targets=attend+join,modules_to_save=scores"


class Clock(sglr.Callback):
    """Keeps the processor time at which each epoch was over."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_step(self, step: Any) -> None:
        del step
        self.steps.append(time.process_time())

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        del record
        self.steps.append(float("nan"))


def text(clients: int) -> Dataset:
    drawn = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, TOKENS, (clients * BATCH * STEPS + 2 * BATCH, LENGTH + 1), generator=drawn)
    parts = [
        Samples(part[:, :-1], part[:, 1:]) for part in (tokens[2 * BATCH :], tokens[:BATCH], tokens[BATCH : 2 * BATCH])
    ]
    targets = sglr.Targets(shape=(LENGTH,), classes=TOKENS)
    return Dataset("made-up", parts[0], parts[1], validation=parts[2], targets=targets)


def seconds_of_a_step(clients: int, folder: Path, stacking: str, lora: str | None) -> float:
    """Return the processor time between two steps, the median of those after the first epoch."""
    clock = Clock()
    sglr.train(
        "sfl",
        model="transformer",
        task="language",
        dataset=text(clients),
        clients=clients,
        batch_size=BATCH,
        epochs=EPOCHS,
        lora=lora,
        stacking=stacking,
        eval_every=EPOCHS,
        threads=torch.get_num_threads(),
        out=folder,
        callbacks=[clock],
    )
    gaps = torch.tensor(clock.steps).diff()[STEPS:]
    return float(gaps[~gaps.isnan()].median())


def measure(rounds: int, lora: str | None) -> dict[str, float]:
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, clients, stacking in (("one", 1, "auto"), ("stacked", 20, "stacked"), ("looped", 20, "looped")):
            with tempfile.TemporaryDirectory() as folder:
                each = seconds_of_a_step(clients, Path(folder) / "run", stacking, lora)
            rate = clients * BATCH * LENGTH / each
            best[name] = max(best.get(name, 0.0), rate)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rates = measure(options.rounds, LORA)
    whole = measure(1, None)
    twenty = max(rates["stacked"], rates["looped"])
    result: dict[str, object] = {
        "command": f"python benchmarks/lora_clients.py --rounds {options.rounds} --threads {options.threads}",
        "machine": machine(),
        "model": f"transformer, {LENGTH} tokens a text, {TOKENS} kinds, batches of {BATCH}",
        "lora": LORA,
        "tokens_per_processor_second": rates,
        "without_lora": whole,
        "twenty_clients_of_one": twenty / rates["one"],
        "target": 0.9,
    }
    write_result("lora_clients", "cpu", result, keep=options.write)


if __name__ == "__main__":
    main()
