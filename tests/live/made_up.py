"""A run folder as a server between sites leaves it while it trains, with as many clients as wanted."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

STATES = ("here", "here", "here", "here", "here", "here", "here", "late", "away", "out")


def write(path: Path, text: str) -> None:
    """Replace a file at once, as sglr does."""
    partial = path.with_name(f".{path.name}.new")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def record(epoch: int) -> dict[str, Any]:
    """Return the record of an epoch that learns."""
    gain = 1 - math.exp(-epoch / 6)
    return {
        "epoch": epoch,
        "loss": 2.3 - 2.1 * gain,
        "train_accuracy": 0.1 + 0.87 * gain,
        "validation_accuracy": 0.1 + 0.82 * gain + 0.01 * math.sin(epoch),
        "validation_loss": 2.3 - 1.9 * gain,
        "validation_accuracy_std_over_clients": 0.01,
        "seconds": 11.0 * epoch,
        "up_bytes": 4_000_000 * epoch,
        "down_bytes": 3_800_000 * epoch,
    }


def client(number: int, step: int, states: tuple[str, ...] = STATES) -> dict[str, Any]:
    """Return what a server tells of a client, some steps into the training."""
    state = states[number * 7 % len(states)]
    moved = (number * 37 % 50 + 20) * 1000 * (step + 1)
    return {
        "client": number,
        "state": state,
        "samples": 300 + number * 13 % 400,
        "round_trip_ms": 3.0 + number % 9,
        "answer_ms": 40.0 + number * 11 % 60 + (300 if number % 97 == 5 else 0),
        "misses": 2 if state == "late" else 0,
        "absences": number * 5 % 7 if state != "here" else 0,
        "extreme": 0,
        "remark": "",
        "up_bytes": moved,
        "down_bytes": moved // 2,
        "rejected": 1 if state == "out" else 0,
        "connections": 1,
        "reason": "quarantined: <b onclick='alert(1)'>NaN</b>" if state == "out" else "",
        "since": 0.0,
    }


def status(clients: int, step: int, **further: Any) -> dict[str, Any]:
    """Return what ``status.json`` holds."""
    return {
        "run": "0123456789abcdef",
        "state": "training",
        "why": "",
        "clients": [client(number, step) for number in range(clients)],
        "updated": time.time(),
        **further,
    }


def progress(epoch: int, step: int, **further: Any) -> dict[str, Any]:
    """Return what ``progress.json`` holds."""
    told = {"state": "training", "why": "", "epoch": epoch, "epochs": 40, "step": step, "steps": 120}
    cost = {"up_bytes": 4_000_000 * epoch, "down_bytes": 3_800_000 * epoch, "seconds": 11.0 * epoch, "joules": None}
    return {**told, "samples_per_second": 5123.4, **cost, "stops_after": None, "updated": time.time(), **further}


def make_folder(folder: Path, clients: int, epochs: int, **settings: Any) -> Path:
    """Write the folder of a run between sites that is in its epoch ``epochs`` + 1."""
    folder.mkdir(parents=True)
    known = {
        "method": "sglr",
        "model": "cnn",
        "dataset": "digits",
        "engine": "remote",
        "clients": clients,
        "epochs": 40,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in {**known, "seed": 0, **settings}.items()]
    write(folder / "config.toml", "\n".join(lines) + "\n")
    write(folder / "metrics.jsonl", "".join(json.dumps(record(epoch)) + "\n" for epoch in range(1, epochs + 1)))
    write(folder / "status.json", json.dumps(status(clients, 0)))
    write(folder / "progress.json", json.dumps(progress(epochs + 1, 30)))
    return folder
