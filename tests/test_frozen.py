"""Frozen weights (``requires_grad=False``) never move, take part in no message, and change no other law."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import CLASSES, CUT, INPUTS, assert_close, covering, make_lower, make_upper
from tests.some_methods import UNSPLIT, make_method
from torch import Tensor, nn
from torch.nn import functional as F

import sglr
from sglr.core.data import Dataset, Samples
from sglr.core.errors import Interrupted, UsageError
from sglr.core.random import generator
from sglr.core.registry import METHODS
from sglr.core.trainer import Trainer
from sglr.core.weights import state_of, trained_of
from sglr.splitting.segment_weights import frozen_of
from sglr.storage.checkpoint import digest

every_method = pytest.mark.parametrize("name", METHODS.names())
SIZES = (8, 5, 2, 3)


def freeze(module: nn.Module, *names: str) -> nn.Module:
    """Freeze the weights called so; all of them, without a name."""
    for name, weight in module.named_parameters():
        weight.requires_grad_(bool(names) and name not in names)
    return module


def frozen_lower(seed: int, *, names: tuple[str, ...], norm: bool = False) -> nn.Module:
    """Build a client segment with frozen weights, of which only the first client's count."""
    return freeze(make_lower(seed, norm=norm), *names)


SIDES: dict[str, dict[str, Any]] = {
    "client's layer": {"lower": ("0.weight",)},
    "client's norm": {"lower": ("1.weight", "1.bias"), "norm": True},
    "all of the client": {"lower": ()},
    "server's layer": {"upper": ("0.weight",)},
    "server's last": {"upper": ("2.weight", "2.bias")},
    "all of the server": {"upper": ()},
    "both": {"lower": ("0.bias",), "upper": ("0.weight", "2.bias")},
}
every_method_and_side = covering(name=METHODS.names(), side=list(SIDES))


def frozen_case(case: Any, name: str, side: str, **options: Any) -> Any:
    """Describe a training with frozen weights on a side."""
    chosen = SIDES[side]
    norm = bool(chosen.get("norm"))
    if "lower" in chosen:
        options["lower"] = partial(frozen_lower, names=chosen["lower"], norm=norm)
    if "upper" in chosen:
        options["upper"] = freeze(make_upper(), *chosen["upper"])
    return case(make_method(name), **{"sizes": SIZES, "norm": norm, **options})


def frozen_weights(trainer: Trainer) -> dict[str, Tensor]:
    """Copy all frozen weights that a training holds."""
    stacks = {"clients": trainer.engine.block.stack, "server": trainer.server.stack, "copies": trainer.server.copies}
    return {
        f"{whose}.{name}": tensor.clone()
        for whose, stack in stacks.items()
        if stack is not None
        for name, tensor in stack.frozen.items()
    }


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert not [name for name in first if not torch.equal(first[name], second[name])]


@every_method_and_side
def test_frozen_weights_stay_and_the_others_move(case, name: str, side: str) -> None:
    for stacking, optimizer in (("stacked", "adamw:weight_decay=0.1"), ("looped", "sgd:momentum=0.9,weight_decay=0.1")):
        training = frozen_case(case, name, side, optimizer=optimizer, stacking=stacking, participation=0.7)
        trainer = training.build()
        frozen, before = frozen_weights(trainer), {key: value.clone() for key, value in trainer.state().items()}
        trainer.run()
        assert frozen
        assert_same(frozen_weights(trainer), frozen)
        after = trainer.state()
        assert any(not torch.equal(before[key], after[key]) for key in before if ".weights." in key)


@every_method_and_side
def test_no_state_snapshot_or_message_holds_a_frozen_weight(case, name: str, side: str) -> None:
    trainer = frozen_case(case, name, side).run()
    frozen = {key.partition(".")[2] for key in frozen_weights(trainer)}
    own = trainer.engine.block.stack.frozen
    assert not own.keys() & trainer.engine.collect((0,)).keys()
    assert not own.keys() & trainer.engine.segment.keys()
    assert not [key for key in trainer.state() if key.startswith("clients.") and key.rpartition("weights.")[2] in own]
    held = trainer.server.stack.frozen
    assert not [key for key in trainer.server.state() if key.rpartition("weights.")[2] in held]
    assert frozen


@covering(name=UNSPLIT, side=list(SIDES))
def test_one_client_trains_like_the_unsplit_model_with_the_same_layers_frozen(case, name: str, side: str) -> None:
    training = frozen_case(case, name, side, sizes=(8,), optimizer="sgd:momentum=0.9,weight_decay=0.1")
    lower, upper = training.segments()
    model = lower(0) if training.method.whole_model else nn.Sequential(lower(0), copy.deepcopy(upper))
    samples = training.clients().train
    plain = torch.optim.SGD(trained_of(model).values(), 0.1, momentum=0.9, weight_decay=0.1)
    for epoch in range(training.epochs):
        order = torch.from_numpy(generator(0, "order", 0, epoch).permutation(8))
        for batch in order.split(training.batch):
            plain.zero_grad()
            F.cross_entropy(model(samples.inputs[batch]), samples.targets[batch]).backward()
            plain.step()
    trainer = training.run()
    own = {key: tensor[0] for key, tensor in trainer.engine.collect((0,)).items()}
    if not training.method.whole_model:
        own = {f"0.{key}": tensor for key, tensor in own.items()}
        own |= {f"1.{key}": tensor for key, tensor in state_of(trainer.server.segment).items()}
    assert_close(own, state_of(model), atol=1e-6)


def pictures(seed: int, *, names: tuple[str, ...]) -> nn.Module:
    """Build a client segment of all kinds of layers that stacked clients merge."""
    torch.default_generator.manual_seed(seed)
    layers = (nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten())
    return freeze(nn.Sequential(*layers, nn.Linear(4, CUT), nn.Tanh()), *names)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    "names", ["1.weight", "1.bias 5.bias", "1.weight 1.bias", "2.weight", "2.bias 5.weight", "5.weight 5.bias"]
)
@pytest.mark.parametrize("form", ["stacked", "matmul"])
def test_forms_agree_with_frozen_weights(case, state_of, names: str, form: str) -> None:
    lower = partial(pictures, names=tuple(names.split()))
    found, looped = (
        state_of(case(METHODS.load("sfl")(), sizes=SIZES, lower=lower, stacking=stacking).run())
        for stacking in (form, "looped")
    )
    assert_close(found, looped, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", ["psl", "sfl", "sflv1", "ssl"])
@pytest.mark.parametrize("side", ["client's layer", "all of the client", "server's last"])
def test_labels_that_stay_with_clients(case, name: str, side: str) -> None:
    training = frozen_case(case, name, side, tail=True)
    trainer = training.build()
    frozen, tail = frozen_weights(trainer), trainer.engine.collect((0,))["tail.0.weight"]
    trainer.run()
    assert_same(frozen_weights(trainer), frozen)
    assert not torch.equal(trainer.engine.collect((0,))["tail.0.weight"], tail)


@every_method
def test_clients_without_trained_weights_train_the_server(case, name: str) -> None:
    """It learns as it would from activations that were computed once."""
    training = frozen_case(case, name, "all of the client", optimizer="sgd:momentum=0.9")
    trainer = training.build()
    start = {key: tensor.clone() for key, tensor in state_of(trainer.server.segment).items()}
    trainer.run()
    if training.method.whole_model:
        return  # the server's layers are the clients'
    if not (training.method.head or training.method.decodes):  # which is trained
        assert trainer.engine.digests() == [digest({})] * len(trainer.sizes)
    assert all(not torch.equal(start[key], tensor) for key, tensor in state_of(trainer.server.segment).items())
    accuracy = trainer.evaluate(training.clients().test).values["accuracy"]
    assert len(set(accuracy.tolist())) == 1


# Whole runs.


def network(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a model with a frozen layer and a frozen norm on either side of the cut."""
    torch.manual_seed(torch.initial_seed())
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(INPUTS, 8),
        nn.BatchNorm1d(8),
        nn.Tanh(),
        nn.Linear(8, 8),
        nn.Tanh(),
        nn.Linear(8, classes),
    )
    return freeze(model, "1.weight", "2.weight", "4.weight")


def dataset(samples: int = 80) -> Dataset:
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randn(samples + 20, INPUTS, generator=rng)
    targets = inputs[:, :CLASSES].argmax(1)
    parts = (Samples(inputs[:samples], targets[:samples]), Samples(inputs[samples:], targets[samples:]))
    return Dataset("drawn", *parts, tuple("abc"))


SETTINGS: dict[str, Any] = {"clients": 4, "batch_size": 8, "epochs": 2, "cut": 4, "threads": 1, "lr": 0.01}


def train(model: Any, out: Path, **settings: Any) -> sglr.Run:
    return sglr.train(**{"method": "sfl", "model": model, "dataset": dataset(), "out": out, **SETTINGS, **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"participation": 0.5, "client_store": "disk"},
        *(pytest.param(each, marks=pytest.mark.slow) for each in ({}, {"method": "fl"})),
    ],
    ids=str,
)
def test_a_run_gives_its_frozen_weights_back(tmp_path: Path, settings: dict[str, Any]) -> None:
    model = network((INPUTS,), CLASSES)
    run = train(model, tmp_path / "run", **settings)
    loaded = sglr.load_model(run.path, model=model, dataset=dataset())
    found = {tuple(tensor.shape): tensor for tensor in frozen_of(loaded).values()}
    for tensor in frozen_of(model).values():
        assert any(torch.equal(tensor, other) for other in frozen_of(loaded).values()), found
    assert len(frozen_of(loaded)) == len(frozen_of(model)) == 3
    assert run.summary is not None
    counts = run.summary["parameters"]
    assert counts["client_frozen"] + counts["server_frozen"] == INPUTS * 8 + 8 + 64
    assert counts["client"] + counts["server"] == 8 + 8 + 8 + 8 * CLASSES + CLASSES
    assert run.summary["frozen_sha256"]


def test_the_frozen_weights_of_a_run_are_kept_once_and_taken_from_there(tmp_path: Path) -> None:
    """A model that is built anew, with other numbers, is the run's again."""
    run = train(network, tmp_path / "run", init="independent", method="psl")
    first, second = (sglr.load_model(run.path, client, model=network, dataset=dataset()) for client in (0, 3))
    assert_same(frozen_of(first), frozen_of(second))
    assert not torch.equal(first.client[1].bias, second.client[1].bias)
    torch.manual_seed(5)
    again = sglr.load_model(run.path, model=network((INPUTS,), CLASSES), dataset=dataset())
    assert_same(frozen_of(first), frozen_of(again))
    assert (run.path / "frozen.safetensors").is_file()


def test_no_frozen_weight_is_in_the_traffic(tmp_path: Path) -> None:
    up: dict[bool, float] = {}
    for frozen in (False, True):
        model = network((INPUTS,), CLASSES)
        run = train(model if frozen else model.requires_grad_(True), tmp_path / str(frozen), epochs=1)
        assert run.summary is not None
        up[frozen] = run.summary["communication"]["up_bytes"]
    assert up[False] - up[True] == 4 * 4 * (INPUTS * 8 + 8)


@pytest.mark.parametrize(
    "settings",
    [
        {"participation": 0.5, "client_store": "disk"},
        *(pytest.param(each, marks=pytest.mark.slow) for each in ({}, {"method": "sflv1"})),
    ],
    ids=str,
)
def test_resumed_it_ends_with_the_same_bits(tmp_path: Path, settings: dict[str, Any]) -> None:
    whole = train(network, tmp_path / "whole", **settings)
    seen = [0]

    def stop() -> bool:
        seen[0] += 1
        return seen[0] > 4

    with pytest.raises(Interrupted):
        train(network, tmp_path / "stopped", stop=stop, **settings)
    run = sglr.resume(tmp_path / "stopped", model=network, dataset=dataset())
    for key in ("weights_sha256", "frozen_sha256"):
        assert run.summary[key] == whole.summary[key]


@covering(method=["psl", "sfl", "sflv1", "sglr"], store=["memory", "disk"])
def test_a_run_whose_clients_train_nothing(tmp_path: Path, method: str, store: str, caplog) -> None:
    model = nn.Sequential(freeze(nn.Linear(INPUTS, 8)), nn.Tanh(), nn.Linear(8, CLASSES))
    run = train(model, tmp_path / "run", cut=2, method=method, participation=0.5, client_store=store)
    loaded = sglr.load_model(run.path, 1, model=model, dataset=dataset())
    assert torch.equal(loaded.client[0].weight, model[0].weight)
    assert not torch.equal(loaded.server[0].weight, model[2].weight)
    assert run.summary["parameters"]["client"] == 0
    assert "no weight of the clients' segment is trained" in caplog.text


def test_a_model_without_trained_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to train: all its weights are frozen"):
        train(freeze(network((INPUTS,), CLASSES)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_its_own_model_only(tmp_path: Path) -> None:
    run = train(network, tmp_path / "run")
    with pytest.raises(UsageError, match="not those that the run began with"):
        sglr.load_model(run.path, model=network((INPUTS,), CLASSES).requires_grad_(True), dataset=dataset())


def test_a_damaged_file_of_frozen_weights_is_named(tmp_path: Path) -> None:
    run = train(network, tmp_path / "run")
    file = run.path / "frozen.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UsageError, match=r"frozen\.safetensors.*is damaged"):
        sglr.load_model(run.path, model=network, dataset=dataset())


def tied(*, frozen: bool) -> nn.Module:
    """Build a model whose first and last layer are the same weight."""
    model = nn.Sequential(
        nn.Linear(INPUTS, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False), nn.Linear(4, CLASSES)
    )
    model[2].weight = model[0].weight
    model[0].weight.requires_grad_(not frozen)
    return model


def test_a_weight_on_both_sides_of_the_cut_must_be_frozen(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"used on both sides of the cut.*or freeze them"):
        train(tied(frozen=False), tmp_path / "trained", cut=2)
    model = tied(frozen=True)
    run = train(model, tmp_path / "frozen", cut=2)
    loaded = sglr.load_model(run.path, model=model, dataset=dataset())
    assert torch.equal(loaded.client[0].weight, loaded.server[0].weight)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "method"),
    # Each engine with and without a server's copy of what clients share; a run starts processes that import torch.
    [("ray", "sfl"), ("ray", "sflv1"), ("remote", "sglr"), ("remote", "fl")],
)
def test_engines_agree_with_frozen_weights(tmp_path: Path, monkeypatch, engine: str, method: str) -> None:
    (tmp_path / "frozen_model.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    runs = [
        sglr.train(method, model="frozen_model:network", out=tmp_path / which, engine=which, **ELSEWHERE)
        for which in ("local", engine)
    ]
    models = [sglr.load_model(run.path) for run in runs] if engine == "ray" else []
    assert runs[0].summary["frozen_sha256"] == runs[1].summary["frozen_sha256"]
    assert runs[1].summary["test"]["accuracy"] == pytest.approx(runs[0].summary["test"]["accuracy"], abs=0.02)
    for one, other in zip(*(frozen_of(model).values() for model in models), strict=True) if models else ():
        assert torch.equal(one, other)
    assert runs[1].summary["communication"]["up_bytes"] == runs[0].summary["communication"]["up_bytes"]


ELSEWHERE: dict[str, Any] = {
    "dataset": "digits",
    "clients": 3,
    "samples_per_client": 60,
    "epochs": 2,
    "cut": 3,
    "threads": 1,
    "stacking": "looped",
    "init": "common",
}
MODULE = """
from torch import nn

def network(input_shape, classes):
    first = (nn.Flatten(), nn.Linear(64, 16), nn.Tanh())
    model = nn.Sequential(*first, nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, classes))
    model[1].weight.requires_grad_(False)
    model[3].bias.requires_grad_(False)
    return model
"""
