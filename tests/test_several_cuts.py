"""Clients that are cut at several places (docs/cutting.md): equations by hand, laws, and users' stories."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import assert_close
from tests.several_values import UNet, squares
from torch import Tensor, nn
from torch.nn import functional as F

import sglr
from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides, Training
from sglr.core.data import Dataset, Samples
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import StepDone
from sglr.core.random import generator
from sglr.core.registry import METHODS
from sglr.core.types import StepContext
from sglr.data.load import load_dataset
from sglr.runs.config import Experiment

CUTS = "0=2,1-2=4"
RATE = 0.1
DIGITS: dict[str, Any] = {
    "clients": 5,
    "samples_per_client": 24,
    "epochs": 1,
    "threads": 1,
    "dataset": "digits",
    "stacking": "looped",
}
THREE = "0-1=conv1,2=pool1,3-4=relu2"
DEVICES = "0-1=phone/4g,2=pi/wifi,3-4=laptop/wifi"
JOINT = ("psl", "slr", "sgl", "sglr", "sglr2", "sfl", "sflv1", "sflv2", "ssl", "cyclesl", "gpsl", "scala", "mergesfl")


def network(*, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(5)
    middle: nn.Module = nn.BatchNorm1d(5) if norm else nn.Identity()
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), middle, nn.Linear(5, 3))


def data(samples: int) -> Dataset:
    torch.manual_seed(6)
    inputs, labels = torch.randn(samples, 4), torch.arange(samples) % 3
    return Dataset("numbers", Samples(inputs, labels), Samples(inputs, labels), ("a", "b", "c"))


def built(method: str, cuts: str, *, clients: int = 3, each: int = 4, norm: bool = False, **settings: Any) -> Training:
    usual = {
        "clients": clients,
        "batch_size": each,
        "epochs": 1,
        "lr": RATE,
        "optimizer": "sgd",
        "schedule": "constant",
        "validation": 0,
    }
    experiment = Experiment.from_flat({"method": method, "cuts": cuts, "stacking": "looped", **usual, **settings})
    return build(experiment, PartOverrides(model=network(norm=norm), dataset=data(clients * each)))


def batches(training: Training, epoch: int, batch: int) -> list[list[tuple[Tensor, Tensor]]]:
    """Inputs and labels of every step and client."""
    own, found = training.data, []
    for client, rows in enumerate(own.indices):
        order = torch.from_numpy(generator(0, "order", client, epoch).permutation(rows.numpy()))
        found.append([(own.train.inputs[part], own.train.targets[part]) for part in order.split(batch)])
    return [list(step) for step in zip(*found, strict=True)]


def weights_of(training: Training, client: int) -> list[Tensor]:
    return [tensor[0] for tensor in training.trainer.engine.collect((client,)).values()]


def moved(module: nn.Module, gradients: Sequence[Tensor], rate: float) -> list[Tensor]:
    return [weight.detach() - rate * by for weight, by in zip(module.parameters(), gradients, strict=True)]


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batchnorm"])
def test_a_step_of_sglr_by_hand(norm: bool) -> None:
    """Client 0 is cut behind the first layer, clients 1 and 2 behind the second; α = 0.5, φ = 1."""
    training = built("sglr", CUTS, alpha=0.5, phi=1.0, norm=norm)
    whole = network(norm=norm).train()
    lowers = [deepcopy(whole[:2]), deepcopy(whole[:4]), deepcopy(whole[:4])]
    first, last = deepcopy(whole[2:4]), deepcopy(whole[4:])
    [step] = batches(training, 0, 4)
    sent = [lower(inputs) for lower, (inputs, _) in zip(lowers, step, strict=True)]
    at = [one.detach().requires_grad_() for one in sent]
    logits = last(torch.cat([first(at[0]), at[1], at[2]]))
    loss = F.cross_entropy(logits, torch.cat([labels for _, labels in step]))
    by_first, by_last, by_cut = (
        torch.autograd.grad(loss, list(each), retain_graph=True) for each in (first.parameters(), last.parameters(), at)
    )
    # The first stage steps on the mean over the 4 samples of 12 that pass it, at η · 1^α; the last at η · 3^α.
    stages = [*moved(first, [3 * by for by in by_first], RATE), *moved(last, by_last, RATE * 3**0.5)]
    own = [3 * by for by in by_cut]  # of the mean over the client's own batch
    mean = (own[1] + own[2]) / 2
    told = [own[0], mean, mean]
    training.trainer.run()
    for wanted, found in zip(stages, training.trainer.server.segment.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    for client, (lower, smashed, by) in enumerate(zip(lowers, sent, told, strict=True)):
        gradients = torch.autograd.grad(smashed, list(lower.parameters()), by)
        for wanted, found in zip(moved(lower, gradients, RATE), weights_of(training, client), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


def test_where_batches_weigh_by_age_each_stage_steps_on_the_weighted_mean_of_what_passes_it() -> None:
    """Clients 0 and 1 are cut behind the first layer, client 2 behind the second; client 0's batch weighs a quarter."""
    trainer = built("psl", "0-1=2,2=4").trainer
    engine, server = trainer.engine, trainer.server
    context = StepContext(0, 1, 0, engine.begin_epoch((0, 1, 2), 0), generator(0, "step"), staleness={0: 0.25})
    uplink = engine.forward(0)
    whole = network().train()
    first, last = deepcopy(whole[2:4]), deepcopy(whole[4:])
    rows = [own.smashed for _, _, own in uplink.of_cuts()]
    logits = last(torch.cat([first(rows[0].flatten(0, 1)), rows[1].flatten(0, 1)]))
    losses = F.cross_entropy(logits, uplink.labels.flatten(), reduction="none").view(3, 4).sum(1)
    by_first = torch.autograd.grad((losses[0] / 4 + losses[1]) / 5, list(first.parameters()), retain_graph=True)
    by_last = torch.autograd.grad((losses[0] / 4 + losses[1] + losses[2]) / 9, list(last.parameters()))
    server.learn(uplink, context, RATE)
    wanted = [*moved(first, by_first, RATE), *moved(last, by_last, RATE)]
    for own, found in zip(wanted, server.segment.parameters(), strict=True):
        torch.testing.assert_close(found, own, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "sgd:momentum=0.9"])
@pytest.mark.parametrize("method", ["sfl", "minibatch-sfl"])
def test_merged_after_every_step_all_train_as_if_in_one_place(method: str, optimizer: str) -> None:
    """One network for all: whoever holds a layer, its average takes the step of the mean over all samples."""
    more = {"average_every": 1} if method == "sfl" else {"merge": "1"}
    training = built(method, "0=2,1=3,2=5", each=6, batch_size=2, optimizer=optimizer, epochs=2, **more)
    whole = network()
    momentum = 0.9 if "momentum" in optimizer else 0.0
    plain = torch.optim.SGD(whole.parameters(), lr=RATE, momentum=momentum)
    for epoch in range(2):
        for step in batches(training, epoch, 2):
            plain.zero_grad()
            inputs, labels = (torch.cat([one[part] for one in step]) for part in (0, 1))
            F.cross_entropy(whole(inputs), labels).backward()
            plain.step()
    trainer = training.trainer
    trainer.run()
    wanted = dict(whole.named_parameters())
    assert_close(dict(trainer.shared), {name: wanted[name].detach() for name in trainer.shared}, atol=1e-6)
    for client in range(3):
        held = {name: tensor[0] for name, tensor in trainer.engine.collect((client,)).items()}
        assert_close(held, {name: wanted[name].detach() for name in held}, atol=1e-6)
    for name, weight in trainer.server.segment.named_parameters():
        torch.testing.assert_close(weight, wanted[name.split(".", 2)[2]], atol=1e-6, rtol=1e-5)


def test_what_the_server_holds_for_clients_counts_as_theirs() -> None:
    """By hand: a layer of clients 1 and 2 is averaged with the server's copy, in the place of client 0."""
    training = built("sfl", CUTS, clients=3)
    trainer = training.trainer
    server, layer = trainer.server, {"2.weight": torch.ones(2, 5, 6)}
    weights = {name: tensor * 3 for name, tensor in trainer.engine.collect((0, 2)).items()}
    filled = server.hold_for((0, 2), weights)
    held = dict(server.segment.named_parameters())["stages.0.2.weight"].detach()
    assert torch.equal(filled["2.weight"], torch.stack([held, 3 * held]))
    assert torch.equal(filled["0.weight"], weights["0.weight"])
    alone = server.hold_for((0,), trainer.engine.collect((0,)))
    assert torch.equal(alone["2.weight"], held[None])
    server.take_up({"2.weight": layer["2.weight"][0], "0.weight": torch.zeros(6, 4)})
    assert torch.equal(dict(server.segment.named_parameters())["stages.0.2.weight"], torch.ones(5, 6))


@pytest.mark.parametrize("optimizer", ["adam", "sgd:momentum=0.9"])
def test_a_stage_that_no_sample_passes_does_not_move(optimizer: str) -> None:
    """Client 0 has two batches and the others four: in the last two steps nobody needs the first stage."""
    settings: dict[str, Any] = {"optimizer": optimizer, "batch_size": 2, "each": 8}
    training = built("psl", "0=2,1=4", clients=2, **settings)
    rows = training.data.indices
    short = (rows[0][:4], rows[1])
    object.__setattr__(training.data, "indices", short)
    trainer = training.trainer
    seen: list[list[Tensor]] = []
    trainer.hooks.observe = lambda event: (
        seen.append([weight.detach().clone() for weight in trainer.server.segment.parameters()])
        if isinstance(event, StepDone)
        else None
    )
    trainer.run(trainer.hooks)
    first, last = [step[:2] for step in seen], [step[2:] for step in seen]
    assert len(seen) == 4
    assert not torch.equal(first[0][0], first[1][0])
    assert all(torch.equal(one, other) for one, other in zip(first[1], first[3], strict=True))
    assert not torch.equal(last[2][0], last[3][0])


@pytest.mark.parametrize(
    "cuts",
    ["0-4=pool1", {"0-2": "pool1", "3": "pool1", "4": "pool1"}, "0-1=pool1,2-4=10%"],
    ids=["one", "table", "share"],
)
def test_one_cut_for_all_is_the_simple_case_bit_for_bit(cuts: Any, tmp_path: Path) -> None:
    one = sglr.train("sglr", out=tmp_path / "one", cut="pool1", **DIGITS)
    several = sglr.train("sglr", out=tmp_path / "several", cuts=cuts, **DIGITS)
    assert one.summary is not None
    assert several.summary is not None
    assert {**one.summary["settings"], "name": ""} == {**several.summary["settings"], "name": ""}
    for key in ("weights_sha256", "cut", "communication", "test"):
        assert one.summary[key] == several.summary[key], key


@pytest.mark.parametrize("method", JOINT)
@pytest.mark.usefixtures("double")
def test_stacked_equals_looped(method: str) -> None:
    stacked, looped = (
        built(
            method,
            CUTS,
            each=5,
            batch_size=2,
            norm=method != "gpsl",
            epochs=2,
            optimizer="sgd:momentum=0.9",
            stacking=form,
        )
        for form in ("auto", "looped")
    )
    # auto: what can't be stacked, as a trunk with several entries, runs in turn.
    for training in (stacked, looped):
        training.trainer.run()
    found, wanted = (
        {**training.trainer.engine.collect((0, 1, 2)), **training.trainer.server.segment.state_dict()}
        for training in (stacked, looped)
    )
    assert_close(found, wanted, atol=1e-10, rtol=1e-10)


def trained(tmp_path: Path, method: str = "sglr", **settings: Any) -> sglr.Run:
    return sglr.train(method, out=tmp_path / "run", **{**DIGITS, "cuts": THREE, **settings})


def test_bytes_are_those_of_each_clients_own_cut(tmp_path: Path) -> None:
    run = trained(tmp_path, "psl")
    assert run.summary is not None
    each = {0: 16 * 8 * 8, 1: 16 * 8 * 8, 2: 16 * 4 * 4, 3: 32 * 4 * 4, 4: 32 * 4 * 4}
    by_kind = run.summary["communication"]["by_kind"]
    assert by_kind["up"]["smashed"] == by_kind["down"]["gradients"] == sum(each.values()) * 24 * 4
    assert run.summary["cut"] == THREE
    assert [group["cut"] for group in run.summary["cuts"]] == ["conv1", "pool1", "relu2"]
    flops = [group["client_flops_per_sample"] for group in run.summary["cuts"]]
    assert flops == sorted(flops)


def test_weights_that_are_merged_are_counted_for_whom_has_them(tmp_path: Path) -> None:
    run = trained(tmp_path, "sfl")
    assert run.summary is not None
    conv1, conv2 = (16 * 9 + 16) * 4, (32 * 16 * 9 + 32) * 4
    assert run.summary["communication"]["by_kind"]["up"]["weights"] == 5 * conv1 + 2 * conv2


@pytest.mark.parametrize(
    "cuts",
    [
        "phone=conv1,pi=pool1,laptop=relu2",
        pytest.param({"laptop": "relu2", "phone": "conv1", "2": "pool1"}, marks=pytest.mark.slow),
    ],
    ids=["text", "table"],
)
def test_cuts_by_device_are_those_of_the_clients_that_the_clock_gives_it(cuts: Any, tmp_path: Path) -> None:
    run, wanted = (trained(tmp_path / name, clock=DEVICES, cuts=own) for name, own in (("a", cuts), ("b", THREE)))
    assert run.summary is not None
    assert wanted.summary is not None
    for key in ("weights_sha256", "cut", "cuts", "communication", "modelled_time"):
        assert run.summary[key] == wanted.summary[key], key
    assert run.experiment.cuts == THREE  # what a run keeps
    for client in range(5):
        ours, theirs = sglr.load_model(run.path, client), sglr.load_model(wanted.path, client)
        assert all((one == other).all() for one, other in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_one_cut_for_all_devices_is_the_simple_case(tmp_path: Path) -> None:
    run = trained(tmp_path, clock=DEVICES, cuts="phone=conv1,pi=conv1,laptop=conv1")
    assert (run.experiment.cut, run.experiment.cuts) == ("conv1", None)


STORIES: dict[str, dict[str, Any]] = {
    "sglr": {"compression": "topk:0.5,feedback=true", "participation": 0.8},
    "sfl": {"defence": "noise:sigma=0.1", "init": "independent"},
    "sflv1": {"optimizer": "sgd:momentum=0.9", "stacking": "auto"},
    "ssl": {},
    "cyclesl": {"compression": "int8"},
    "psl": {"clock": DEVICES, "cuts": "phone=conv1,pi=pool1,laptop=relu2"},
}


def _stop_after(steps: int) -> tuple[Any, Any]:
    seen = [0]

    def observe(event: object) -> None:
        seen[0] += isinstance(event, StepDone)

    return observe, lambda: seen[0] >= steps


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name == "sglr" else pytest.mark.slow) for name in STORIES]
)
def test_stopped_and_resumed_a_run_ends_with_the_same_weights(method: str, tmp_path: Path) -> None:
    settings = {**DIGITS, "cuts": THREE, "epochs": 2, **STORIES[method]}
    whole = sglr.train(method, out=tmp_path / "whole", **settings)
    observe, stop = _stop_after(4)
    with pytest.raises(Interrupted):
        sglr.train(method, out=tmp_path / "stopped", observe=observe, stop=stop, **settings)
    run = sglr.resume(tmp_path / "stopped")
    assert whole.summary is not None
    assert run.summary is not None
    for key in ("weights_sha256", "communication", "test"):
        assert run.summary[key] == whole.summary[key], key


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("sglr", {"tail": "relu3"}),
        ("sfl", {"compression": "int8"}),
        *(pytest.param("sglr", more, marks=pytest.mark.slow) for more in ({}, {"compression": "int8"})),
        *(pytest.param("sfl", more, marks=pytest.mark.slow) for more in ({}, {"tail": "relu3"})),
    ],
)
def test_each_clients_network_is_its_own_layers_and_the_servers_from_there(
    method: str, more: dict[str, str], tmp_path: Path
) -> None:
    """What `load_model` and `evaluate` answer for a client is what the test of the run told."""
    run = trained(tmp_path, method, epochs=2, lr=0.01, **more)
    assert run.summary is not None
    told = run.summary["test"]["per_client"]["accuracy"]
    test = load_dataset("digits", None, {}).test
    clients = range(5) if method == "sglr" else range(1)
    for client in clients:
        network = sglr.load_model(run.path, client)
        right = (network(test.inputs).argmax(1) == test.targets).double().mean()
        assert float(right) == pytest.approx(told[client], abs=1e-9)


def test_several_values_cross_several_cuts(tmp_path: Path) -> None:
    """Behind the first block of a U-Net one tensor crosses, at its bottleneck three do."""
    torch.manual_seed(0)
    run = sglr.train(
        "sglr",
        model=UNet(),
        dataset=squares(),
        task="segmentation",
        clients=4,
        cuts={"0-1": "down1", "2": "down2", "3": "bottom"},
        batch_size=6,
        epochs=2,
        lr=0.01,
        out=tmp_path / "run",
    )
    assert run.history[-1]["loss"] < run.history[0]["loss"]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown client": ({"cuts": "0-9=conv1"}, "0-9 is no range of the 5 clients"),
    "left out": ({"cuts": "0-3=conv1"}, "client 4 would have no cut"),
    "twice": ({"cuts": "0-3=conv1,3-4=pool1"}, "client 3 would have two cuts"),
    "unreadable": ({"cuts": "conv1"}, "is not clients and their cut"),
    "no clock": ({"cuts": "phone=conv1,laptop=pool1"}, "'phone' is no range of clients, and clients have no devices"),
    "no such device": ({"cuts": "phone=conv1,tablet=pool1", "clock": DEVICES}, "no client has such a device"),
    "device left out": ({"cuts": "phone=conv1", "clock": DEVICES}, r"clients 2, 3, 4 \(laptop, pi\) would have no cut"),
    "device and range": ({"cuts": "phone=conv1,1-4=pool1", "clock": DEVICES}, "client 1 would have two cuts"),
    "no such layer": ({"cuts": "0-3=conv1,4=conv9"}, "no such layer"),
    "nothing left": ({"cuts": "0-3=conv1,4=fc2"}, "the server would have no layers"),
    "both": ({"cuts": THREE, "cut": "conv1"}, "cut = conv1 is given, too"),
    "ray": ({"cuts": THREE, "engine": "ray"}, "blocks of clients that are cut at one place"),
    "accumulate": ({"cuts": THREE, "accumulate": 2}, "may have no samples"),
    "pipelining": ({"cuts": THREE, "pipelining": True}, "compute ahead"),
    "compile": ({"cuts": THREE, "compile": True}, "another number of samples"),
    "lora": ({"cuts": THREE, "lora": "r=2,at=clients"}, "differs from client to client"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_before_any_work(case: str, tmp_path: Path) -> None:
    settings, problem = BAD[case]
    with pytest.raises(UsageError, match=problem):
        sglr.train("sglr", out=tmp_path / "run", **{**DIGITS, **settings})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", [name for name in METHODS.names() if name not in JOINT and name != "minibatch-sfl"])
def test_methods_without_a_meaning_for_several_cuts_are_refused_by_name(method: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"method {method} ") as raised:
        sglr.train(method, out=tmp_path / "run", **{**DIGITS, "cuts": THREE})
    assert raised.value.field == "cuts"


class Branches(nn.Module):
    """Two branches side by side: neither cut has the layers of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right, self.head = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        stem = torch.tanh(self.stem(x))
        return self.head(torch.tanh(self.left(stem)) + torch.tanh(self.right(stem)))


class Blocks(nn.Module):
    """A block ends with its last layer: two names of one place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Linear(4, 6)
        self.block = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.block(torch.relu(self.first(x)))))


@pytest.mark.parametrize(
    ("cuts", "wanted"),
    [
        ("0=block,1=block.1", {"cut": "block"}),
        ("0=first,1=block.1,2=block", {"cuts": "0=first,1-2=block.1"}),
        ("0=block,1=block.0,2=block.1", {"cuts": "0=block,1=block.0,2=block"}),
    ],
)
def test_two_names_of_one_place_are_one_cut(cuts: str, wanted: dict[str, str], tmp_path: Path) -> None:
    told = {"clients": cuts.count("=")}
    names = (cuts, wanted.get("cuts"))
    found, same = (
        sglr.train(
            "sfl",
            model=Blocks(),
            dataset=data(24),
            epochs=1,
            validation=0,
            stacking="looped",
            cuts=own,
            cut=None if own else wanted["cut"],
            out=tmp_path / str(at),
            **told,
        )
        for at, own in enumerate(names)
    )
    assert found.summary is not None
    assert same.summary is not None
    assert found.summary["weights_sha256"] == same.summary["weights_sha256"]
    assert (found.experiment.cut, found.experiment.cuts) == (wanted.get("cut"), wanted.get("cuts"))


def test_cuts_that_are_not_one_behind_the_other_are_refused() -> None:
    experiment = Experiment.from_flat({"method": "sglr", "clients": 2, "cuts": "0=left,1=right"})
    with pytest.raises(UsageError, match="neither cut has all layers of the other"):
        build(experiment, PartOverrides(model=Branches(), dataset=data(8)))
