"""How long until 75 % over 100 ms and 20 Mbit/s: split learning beside FedAvg, both tuned, by the simulated clock.

Fashion-MNIST, three clients of 640 samples in batches of 32. For the small CNN (0.4 MB) and for one of 50 MB, nearly
all of it at the server, as many settings of FedAvg as of split methods are tried, with validation data: on three seeds,
the large on one. The fastest two of both on each device (one for the large) train with three other seeds, and are
scored on test data after every epoch, beside `psl` and `fl` with nothing set. Two clocks run beside one training, as
devices change no weights.

    python benchmarks/time_to_accuracy.py --write
    python benchmarks/time_to_accuracy_page.py

The first takes 10 to 20 minutes of a processor, the second writes the page. Needs Fashion-MNIST (SGLR_DATA_DIR).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from record import machine, write_result
from sglr.assembly.build import build
from sglr.core.events import EpochDone, Event
from sglr.core.trainer import Hooks
from sglr.cost.clock_spec import read_clock
from sglr.runs.config import Experiment

Settings = dict[str, Any]

CLIENTS, TARGET = 3, 0.75
DEVICES = {"phone": "phone/wan", "laptop": "laptop/wan"}
TUNING, SEEDS = (101, 102, 103), (0, 1, 2)
FASTEST = 2
SETTINGS: Settings = {
    "dataset": "fashion-mnist",
    "clients": CLIENTS,
    "samples_per_client": 640,
    "batch_size": 32,
    "validation": 1000,
    "test_samples": 1000,
    "epochs": 40,
    "eval_every": 10**6,
    "device": "cpu",
    "clock": DEVICES["phone"],
}
SMALL, LARGE = {"model": "cnn"}, {"model": "time_to_accuracy_model:wide", "cut": "pool1"}


def fl(local_epochs: int, lr: float, code: str = "int8") -> Settings:
    """Return settings of FedAvg, with weights in a code on their way up."""
    return {"method": "fl", "local_epochs": local_epochs, "lr": lr, "weight_compression": code}


def ahead(method: str, code: str, depth: int, lr: float, **more: str) -> Settings:
    """Return settings of a split method whose clients compute ahead."""
    return {"method": method, "compression": code, "pipelining": depth, "lr": lr, **more}


def heads(h: int, cut: str, lr: float) -> Settings:
    """Return settings of clients that step by heads of their own, and send every h-th batch."""
    return {"method": "cse-fsl", "h": h, "cut": cut, "lr": lr, "compression": "int4", "weight_compression": "int8"}


PLAIN: tuple[Settings, ...] = ({"method": "fl"}, {"method": "psl"})
TRIED: dict[str, tuple[Settings, tuple[Settings, ...]]] = {
    "small": (
        SMALL,
        (
            *(fl(local, 6e-3) for local in (1, 2, 3, 4)),
            *(fl(local, 3e-3) for local in (1, 2, 4)),
            *(fl(local, 6e-3, "int4") for local in (1, 2, 3)),
            fl(2, 6e-3, "int2"),
            *(ahead(method, "int4", 8, lr) for method in ("psl", "sglr", "sfl") for lr in (3e-3, 6e-3)),
            *(ahead("psl", "int2", 8, lr) for lr in (3e-3, 6e-3)),
            ahead("psl", "int8", 8, 6e-3),
            ahead("psl", "int4", 8, 6e-3, cut="pool2"),
            heads(5, "pool1", 3e-3),
        ),
    ),
    "large": (
        LARGE,
        (
            *(fl(local, lr) for local in (1, 2) for lr in (1e-3, 3e-3)),
            *(ahead("psl", code, 8, lr) for code in ("int4", "int2") for lr in (1e-3, 3e-3)),
        ),
    ),
}
LIMIT = {"small": 8.0, "large": 200.0}
"""Modelled seconds of phones after which a training ends, whatever it has reached."""


def trained(settings: Settings, *, seed: int, test: bool, limit: float, longer: int = 0) -> dict[str, Any]:
    """Train until the score is reached, and at least ``longer`` epochs.

    Returns
    -------
    dict
        ``curve``: after each epoch (of `fl`: each round), the modelled seconds by device, and the accuracy; and
        ``seconds``, by device, when the score was reached, None if it was not.
    """
    training = build(Experiment.from_flat({**SETTINGS, **settings, "seed": seed}))
    trainer, first = training.trainer, training.clock
    assert first is not None, "the settings give one"
    clocks = {name: first if text == SETTINGS["clock"] else first.beside(fleet(text)) for name, text in DEVICES.items()}
    samples = training.data.test if test else training.data.validation
    curve: list[dict[str, float]] = []

    def observe(event: Event) -> None:
        for clock in clocks.values():
            clock(event)
        if isinstance(event, EpochDone) and (event.epoch + 1) % settings.get("local_epochs", 1) == 0:
            seconds = {name: clock.seconds for name, clock in clocks.items()}
            curve.append({**seconds, "accuracy": trainer.evaluate(samples).mean("accuracy")})

    def ends() -> str:
        if not curve:
            return ""
        reached = any(point["accuracy"] >= TARGET for point in curve) and trainer.progress.epoch >= longer
        return "reached" if reached or curve[-1]["phone"] > limit else ""

    before = time.process_time()
    trainer.run(Hooks(observe, ends=ends))
    reached = next((point for point in curve if point["accuracy"] >= TARGET), None)
    return {
        "settings": settings,
        "seed": seed,
        "curve": curve,
        "seconds": {name: None if reached is None else reached[name] for name in DEVICES},
        "processor_seconds": time.process_time() - before,
    }


def fleet(text: str) -> Any:
    """Return the clients' devices and links."""
    return read_clock(text, CLIENTS, 0)


def mean_seconds(rows: Sequence[dict[str, Any]], settings: Settings, device: str) -> float | None:
    """Return the mean seconds to the score over the seeds of some settings; None where one did not reach it."""
    found = [row["seconds"][device] for row in rows if row["settings"] == settings]
    return None if None in found else fmean(found)


def chosen(rows: Sequence[dict[str, Any]], tried: Sequence[Settings], fastest: int) -> list[Settings]:
    """Return the fastest few settings of FedAvg and of split methods on each device, each once."""
    found: list[Settings] = []
    for device in DEVICES:
        for whole in (True, False):
            own = [one for one in tried if (one["method"] == "fl") == whole]
            times = [(seconds, at) for at, one in enumerate(own) if (seconds := mean_seconds(rows, one, device))]
            found += [own[at] for _, at in sorted(times)[:fastest] if own[at] not in found]
    return found


def study(out: Path, seeds: int) -> dict[str, Any]:
    """Tune and train; what is in the file ``out`` is not trained again."""
    kept: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}

    def once(name: str, settings: Settings, **how: Any) -> dict[str, Any]:
        key = json.dumps([name, settings, how["seed"]], sort_keys=True)
        if key not in kept:
            kept[key] = trained({**TRIED[name][0], **settings}, **how)
            kept[key]["settings"] = settings
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(kept))
            print(name, settings, how["seed"], kept[key]["seconds"], round(kept[key]["processor_seconds"]), flush=True)
        row: dict[str, Any] = kept[key]
        return row

    result: dict[str, Any] = {}
    for name, (_, tried) in TRIED.items():
        limit = LIMIT[name]
        seeds_of = TUNING if name == "small" else TUNING[:1]
        tuning = [once(name, one, seed=seed, test=False, limit=limit) for one in tried for seed in seeds_of]
        longer = 4 if name == "small" else 0
        finals = [*chosen(tuning, tried, FASTEST), *PLAIN] if name == "small" else chosen(tuning, tried, 1)
        final = [
            once(name, one, seed=seed, test=True, limit=10 * limit, longer=longer)
            for one in finals
            for seed in SEEDS[:seeds]
        ]
        result[name] = {
            "tuning": [{name: value for name, value in row.items() if name != "curve"} for row in tuning],
            "final": final,
        }
    return result


def main() -> None:
    """Run the study, print it, and write the result if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/time-to-accuracy.json"), help="file of what is done")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    options = parser.parse_args()
    models = study(options.out, options.seeds)
    result: dict[str, object] = {
        "machine": machine(),
        "command": "python benchmarks/time_to_accuracy.py --write",
        "settings": SETTINGS,
        "devices": DEVICES,
        "target": TARGET,
        "tuning_seeds": TUNING,
        "models": models,
    }
    write_result("time-to-accuracy", "cpu", result, keep=options.write)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
