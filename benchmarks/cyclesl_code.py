"""CycleSL in sglr and in its authors' code (github.com/AnonymWriter/CycleSL): seconds of a round, at equal work.

Their code is not part of sglr: clone it, and give its folder. Their main loop ``CyclePSL`` is called as it stands, on
the CPU, with clients of theirs that hold noise; only its evaluation after every round is left out, as sglr's is, and
what that reports to. A round is a batch of every client, as many steps of the server, and a pass for the gradients.
Both compute in one process with one thread and take turns of three rounds.

    python benchmarks/cyclesl_code.py --cyclesl PATH --write
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import MagicMock

import torch

from contenders import SHAPES, STEPS, make_data, split_steps
from record import cores_of_others, machine, write_result
from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides
from sglr.core.data import Dataset
from sglr.core.model import build_model
from sglr.runs.config import Experiment
from sglr.splitting import split
from sglr.system.allocator import keep_freed_memory

UNUSED = ("wandb", "torchvision", "torchvision.models", "torchvision.datasets")
"""What their evaluation, their residual networks and their data need: none of it is measured."""
CASES = (("cnn", 20, 8), ("cnn", 20, 32), ("mlp", 20, 8))
"""Model, clients, batch size."""
RATE = 1e-9
"""Noise that is learnt by heart has denormal gradients, which are slow."""


def theirs(folder: Path) -> tuple[Any, Any, Any]:
    """Return the modules of the main loops, the client and the server."""
    sys.modules.update({name: MagicMock() for name in UNUSED})
    sys.path.insert(0, str(folder))
    loops, client, server = (importlib.import_module(name) for name in ("sl", "client", "server"))
    loops.eval_help = lambda *_: None
    loops.tqdm.tqdm = lambda rounds: rounds
    loops.print = lambda *_: None
    return loops, client, server


def their_steps(
    modules: tuple[Any, Any, Any], model: str, data: Dataset, clients: int, batch: int
) -> Callable[[], None]:
    """Return what takes their clients through their data once."""
    loops, client, server = modules
    whole = [build_model(model, SHAPES[model], 10) for _ in range(clients)]
    assert isinstance(whole[0].default_cut, str)
    parts = [split(each, whole[0].default_cut) for each in whole]
    told = Namespace(device="cpu", num_round=STEPS, num_server_epoch=1, client_bs=batch, server_bs=batch)
    told.client_optim = told.server_optim = "Adam"
    told.client_lr = told.server_lr = RATE
    rows = torch.arange(len(data.train)).split(batch * STEPS)
    sets = [torch.utils.data.TensorDataset(data.train.inputs[own], data.train.targets[own]) for own in rows]
    everyone = [client.Client(told, own, own, part.lower) for own, part in zip(sets, parts, strict=True)]
    one = server.Server(told, parts[0].upper)
    return lambda: loops.CyclePSL(told, everyone, one, clients)


def our_steps(model: str, data: Dataset, clients: int, batch: int) -> Callable[[], None]:
    """Return what takes sglr's clients through their data once."""
    settings: dict[str, object] = {"method": "cyclesl", "model": model, "dataset": "<noise>", "clients": clients}
    settings |= {"batch_size": batch, "validation": 0, "device": "cpu", "lr": RATE}
    return split_steps(build(Experiment.from_flat(settings), PartOverrides(dataset=data)))


def compare(modules: tuple[Any, Any, Any], case: tuple[str, int, int], turns: int) -> dict[str, Any]:
    """Let both take turns; the first one warms up."""
    model, clients, batch = case
    data = make_data(model, clients, batch)
    running = {
        "sglr": our_steps(model, data, clients, batch),
        "authors": their_steps(modules, model, data, clients, batch),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in running}
    for turn in range(turns + 1):
        for name, run in running.items():
            started, computed = time.perf_counter(), time.process_time()
            run()
            if turn:
                taken[name].append((time.perf_counter() - started, time.process_time() - computed))
    row: dict[str, Any] = {"model": model, "clients": clients, "batch": batch}
    for name, times in taken.items():
        seconds, processor = (median(each) / STEPS for each in zip(*times, strict=True))
        row[name] = {"round_ms": round(1e3 * seconds, 2), "processor_ms": round(1e3 * processor, 2)}
    row["authors_to_sglr"] = round(row["authors"]["round_ms"] / row["sglr"]["round_ms"], 2)
    row["processor_authors_to_sglr"] = round(row["authors"]["processor_ms"] / row["sglr"]["processor_ms"], 2)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cyclesl", type=Path, required=True, help="folder of the authors' code")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    if not (arguments.cyclesl / "sl.py").is_file():
        raise SystemExit(f"{arguments.cyclesl} has no sl.py: give the folder of the authors' code")
    torch.set_num_threads(1)
    others = cores_of_others()
    keep_freed_memory()
    modules = theirs(arguments.cyclesl)
    rows = []
    for case in CASES:
        rows.append(compare(modules, case, arguments.turns))
        print(rows[-1], flush=True)
    result: dict[str, object] = {
        "machine": machine(),
        "cores_of_others": others,
        "command": "python benchmarks/cyclesl_code.py --cyclesl PATH --write",
        "rows": rows,
    }
    write_result("cyclesl_code", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
