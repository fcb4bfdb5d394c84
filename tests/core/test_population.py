"""Clients that are not in the stack: it makes no difference to any result where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sglr.core.checkpoint import write_checkpoint
from sglr.core.method import Method
from sglr.core.registry import METHODS
from sglr.core.train import Hooks, Progress, Trainer

SIZES = (6, 5, 6, 3, 6, 5, 6)
several_clients = pytest.mark.parametrize("name", [n for n in METHODS.names() if not METHODS.load(n).pooled])


def make(name: str) -> Method:
    method: Method = METHODS.load(name)()
    return method


def ends(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return what everyone ends with: all clients' weights, and the server's state."""
    clients = trainer.engine.collect(tuple(range(len(trainer.sizes))))
    return clients, {name: tensor.clone() for name, tensor in trainer.server.state().items()}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


class Kept:
    """Writes checkpoints as a run does, keeping the newest two."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.saved = folder, list[tuple[dict[str, Tensor], Progress]]()
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)

    def settle(self, trainer: Trainer) -> Trainer:
        trainer.engine.settle(self.folder)
        trainer.hooks = replace(trainer.hooks, save=lambda best: self.save(trainer))
        return trainer

    def save(self, trainer: Trainer) -> None:
        tensors = {name: tensor.clone() for name, tensor in trainer.state().items()}
        self.saved.append((tensors, replace(trainer.progress)))
        write_checkpoint(self.folder / "checkpoints" / f"step-{len(self.saved):09d}.safetensors", tensors, {})
        for old in sorted((self.folder / "checkpoints").glob("step-*"))[:-2]:
            old.unlink()


@several_clients
@pytest.mark.parametrize("where", ["host", "disk"])
@pytest.mark.parametrize("stacking", ["stacked", "looped"])
def test_weights_are_those_of_a_stack_of_all_bit_for_bit(case, name: str, where: str, stacking: str, tmp_path) -> None:
    training = case(
        make(name), sizes=SIZES, batch=3, norm=True, optimizer="adam", participation=0.4, epochs=5, stacking=stacking
    )
    there = training.run()
    trainer = replace(training, clients_leave=True).build()
    if where == "disk":
        Kept(tmp_path).settle(trainer)
    trainer.run()
    for one, other in zip(ends(there), ends(trainer), strict=True):
        assert_same(one, other)
    took_part = {client for epoch in range(5) for client in trainer.participants(epoch)}
    digests = trainer.engine.digests()
    assert [digest for client, digest in enumerate(there.engine.digests()) if client in took_part] == [
        digests[client] for client in sorted(took_part)
    ]
    assert {client for client, digest in enumerate(digests) if digest} == took_part
