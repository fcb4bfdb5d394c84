"""How fast many client segments are evaluated, against the naive loop: client after client, batch after batch."""

from __future__ import annotations

import argparse

import torch

from contenders import SHAPES, build_split, make_data, medians
from record import machine, write_result
from sglr.core.data import Samples
from sglr.core.model import build_model
from sglr.splitting import split
from sglr.system.allocator import keep_freed_memory


def naive(model: str, clients: int, samples: Samples, batch: int) -> float:
    """Evaluate one module per client in batches; return the mean accuracy."""
    whole = build_model(model, SHAPES[model], 10)
    cut = whole.default_cut
    assert isinstance(cut, str)
    upper = split(whole, cut).upper.eval()
    lowers = [split(build_model(model, SHAPES[model], 10), cut).lower.eval() for _ in range(clients)]
    correct = 0
    with torch.no_grad():
        for lower in lowers:
            for inputs, labels in zip(samples.inputs.split(batch), samples.targets.split(batch), strict=True):
                correct += int((upper(lower(inputs)).argmax(1) == labels).sum())
    return correct / len(samples) / clients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    keep_freed_memory()
    clients, model, number = 20, "cnn", arguments.samples
    data = make_data(model, clients, 8)
    trainer = build_split(model, data, clients, 8, "stacked", "cpu").trainer
    generator = torch.Generator().manual_seed(1)
    samples = Samples(
        torch.randn(number, *SHAPES[model], generator=generator), torch.randint(10, (number,), generator=generator)
    )
    contenders = {
        "sglr": lambda: trainer.evaluate(samples) and None,
        "naive loop, batches of 128": lambda: naive(model, clients, samples, 128) and None,
        "naive loop, batches of 1000": lambda: naive(model, clients, samples, 1000) and None,
    }
    rates = medians(contenders, number * clients, arguments.rounds)
    result: dict[str, object] = {
        "machine": machine(),
        "command": f"python benchmarks/evaluation.py --rounds {arguments.rounds} --samples {number}",
        "case": {"model": model, "clients": clients, "samples": number},
        "samples_per_second": {name: round(rate) for name, rate in rates.items()},
        "ratios": {f"sglr / {name}": round(rates["sglr"] / rate, 2) for name, rate in rates.items() if name != "sglr"},
    }
    write_result("evaluation", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
