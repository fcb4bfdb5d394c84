"""Clients that are not in the stack: it makes no difference to any result where they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.conftest import covering
from tests.some_methods import make_method
from torch import Tensor

from sglr.core.method import Method
from sglr.core.plan import Progress
from sglr.core.registry import METHODS
from sglr.core.trainer import Hooks, Trainer
from sglr.storage.checkpoint import write_checkpoint

SIZES = (6, 5, 6, 3, 6, 5, 6)
SEVERAL = [name for name in METHODS.names() if not METHODS.load(name).pooled]


def make(name: str) -> Method:
    return make_method(name)


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
        trainer.engine.attach(self.folder)
        trainer.hooks = replace(trainer.hooks, save=lambda best: self.save(trainer))
        return trainer

    def save(self, trainer: Trainer) -> None:
        tensors = {name: tensor.clone() for name, tensor in trainer.state().items()}
        self.saved.append((tensors, replace(trainer.progress)))
        write_checkpoint(self.folder / "checkpoints" / f"step-{len(self.saved):09d}.safetensors", tensors, {})
        for old in sorted((self.folder / "checkpoints").glob("step-*"))[:-2]:
            old.unlink()


@covering(name=SEVERAL, where=["host", "disk"], stacking=["stacked", "looped"])
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


@covering(name=SEVERAL, where=["disk", "host"], keep=[False, True])
def test_resumed_from_any_step_the_weights_are_the_same(case, name: str, where: str, keep: bool, tmp_path) -> None:
    """Law 5, for a new process, and for one that goes back; within the steps of an update, too."""
    options = {"optimizer": "adam", "participation": 0.4, "accumulate": 2 if keep and make(name).accumulates else 1}
    training = case(make(name), sizes=SIZES, batch=2, epochs=3, checkpoint_every=1, **options)
    whole = replace(training, clients_leave=True).build()
    kept = Kept(tmp_path)
    if where == "disk":
        kept.settle(whole)
    else:
        whole.hooks = Hooks(save=lambda best: kept.save(whole))
    whole.run()
    wanted = ends(whole)
    for tensors, progress in kept.saved[-2:]:
        again = replace(training, clients_leave=True).build()
        again.engine.attach(tmp_path)
        for trainer in (again, whole):
            trainer.hooks = Hooks()
            trainer.restore(tensors, replace(progress))
            trainer.run()
            for one, other in zip(wanted, ends(trainer), strict=True):
                assert_same(one, other)


@pytest.mark.parametrize("optimizer", ["adam", "sgd:momentum=0.9", "sgd", "adagrad"])
def test_a_checkpoint_of_one_kind_is_taken_up_by_the_other(case, optimizer: str, tmp_path) -> None:
    """Another machine may choose otherwise when it goes on."""
    training = case(make("sglr"), sizes=SIZES, norm=True, optimizer=optimizer, participation=0.5, epochs=4)
    wanted = ends(training.run())
    for leave in (True, False):
        half = replace(training, clients_leave=leave, epochs=2).build()
        kept = Kept(tmp_path / str(leave))
        kept.settle(half).run()
        other = replace(training, clients_leave=not leave).build()
        other.engine.attach(kept.folder)
        other.restore(*kept.saved[-1])
        other.run()
        for one, two in zip(wanted, ends(other), strict=True):
            assert_same(one, two)


def test_an_absent_clients_row_does_not_move(case, tmp_path) -> None:
    """Law 4: weights, momentum and count of steps."""
    training = case(make("sglr"), sizes=SIZES, optimizer="adam", participation=0.4, epochs=6, clients_leave=True)
    trainer = training.build()
    held: dict[int, dict[str, Tensor]] = {}
    rested: list[int] = []

    def compare(best: bool) -> None:
        del best
        trainer.state()
        absent = trainer.engine.block.absent
        present = trainer.participants(trainer.progress.epoch - 1)
        for client in absent.clients:
            row = next(iter(absent.get([client])))[1]
            if client not in present:
                assert_same(held[client], row)
                rested.append(client)
            held[client] = row

    trainer.hooks = Hooks(save=compare)
    trainer.run()
    assert rested
    steps = {name: tensor for name, tensor in held[rested[0]].items() if name.endswith(".step")}
    assert steps


@pytest.mark.parametrize("leave", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "sgd:momentum=0.9"])
def test_fresh_optimizers_remember_nothing_of_the_round_before(case, leave: bool, optimizer: str) -> None:
    """A client that begins a round fresh steps like one that has the same weights and never stepped."""
    training = case(make("sglr"), sizes=(4, 4, 4), batch=2, optimizer=optimizer, epochs=2, clients_leave=leave)
    trainer = training.build()
    trainer.plan = replace(trainer.plan, fresh_optimizers=True, epochs=1)
    trainer.run()
    newcomer = training.build()
    weights = trainer.engine.collect((0, 1, 2))
    for client in range(3):
        newcomer.engine.publish({name: tensor[client] for name, tensor in weights.items()}, (client,))
    newcomer.server.restore(trainer.server.state())
    newcomer.progress = replace(trainer.progress)
    trainer.plan = replace(trainer.plan, epochs=2)
    for one in (trainer, newcomer):
        one.run()
    for one, other in zip(ends(trainer), ends(newcomer), strict=True):
        assert_same(one, other)


def test_kept_optimizers_do_remember(case) -> None:
    kept, fresh = (case(make("sglr"), optimizer="adam", epochs=2).build() for _ in range(2))
    fresh.plan = replace(fresh.plan, fresh_optimizers=True)
    for trainer in (kept, fresh):
        trainer.run()
    assert not torch.equal(kept.engine.collect((0,))["0.weight"], fresh.engine.collect((0,))["0.weight"])
