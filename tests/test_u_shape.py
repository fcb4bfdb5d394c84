"""Labels that stay with the clients: the laws of every method hold with segments in three (docs/architecture.md)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import assert_close, covering
from tests.some_methods import UNSPLIT, WITH_TAIL
from torch import nn
from torch.nn import functional as F

from sglr import load_model, train
from sglr.assembly.build import build
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import Event, Hooks, Traffic
from sglr.core.method import Method
from sglr.core.random import generator
from sglr.core.registry import METHODS
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink
from sglr.runs.config import Experiment

every_split_method = pytest.mark.parametrize("name", WITH_TAIL)
NORM = {"plain": False, "batchnorm": True}

UNEQUAL = (11, 7, 3, 3)
DIGITS = {"model": "mlp", "clients": 3, "samples_per_client": 24, "epochs": 1, "tail": "relu2", "threads": 1}


def make(name: str) -> Method:
    method: Method = METHODS.load(name)()
    return method


@covering(name=[name for name in WITH_TAIL if name in UNSPLIT], norm=NORM, optimizer=["sgd:momentum=0.9", "adam"])
def test_one_client_trains_like_the_unsplit_model(case, name: str, norm: bool, optimizer: str) -> None:
    training = case(make(name), sizes=(8,), tail=True, norm=norm, optimizer=optimizer, rate=0.05, seed=3)
    client, upper = training.segments()
    own = client(0)
    model = nn.Sequential(own.lower, deepcopy(upper), own.tail)
    samples = training.clients().train
    build_optimizer = {"sgd:momentum=0.9": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    plain = build_optimizer(model.parameters(), lr=0.05, **({"momentum": 0.9} if "momentum" in optimizer else {}))
    losses = 0.0
    for epoch in range(training.epochs):
        order = torch.from_numpy(generator(3, "order", 0, epoch).permutation(8))
        losses = 0.0
        for batch in order.split(training.batch):
            plain.zero_grad()
            loss = F.cross_entropy(model(samples.inputs[batch]), samples.targets[batch])
            loss.backward()
            plain.step()
            losses += float(loss.detach()) * len(batch)
    trainer = training.run()
    found = {key: tensor[0] for key, tensor in trainer.engine.collect((0,)).items()}
    assert_close(found, own.state_dict(), atol=1e-6)
    assert_close(trainer.server.segment.state_dict(), model[1].state_dict(), atol=1e-6)
    assert trainer.server.read_metrics().loss == pytest.approx(losses, rel=1e-4)


@covering(name=WITH_TAIL, norm=NORM, participation=[1.0, 0.5])
@pytest.mark.usefixtures("double")
def test_stacked_equals_looped(case, state_of, name: str, norm: bool, participation: float) -> None:
    stacked, looped = (
        state_of(
            case(
                make(name),
                sizes=UNEQUAL,
                batch=4,
                tail=True,
                norm=norm,
                optimizer="sgd:momentum=0.9",
                participation=participation,
                label_prior="own",
                stacking=stacking,
            ).run()
        )
        for stacking in ("stacked", "looped")
    )
    assert_close(stacked, looped, atol=1e-10, rtol=1e-10)


@given(sizes=st.lists(st.sampled_from([2, 3, 5, 6]), min_size=2, max_size=4), seed=st.integers(0, 2**31))
@settings(max_examples=8)
def test_the_server_minimises_the_mean_over_all_samples(case, sizes: list[int], seed: int) -> None:
    """By hand: one step of SGD of the server and of every client, on batches of any sizes."""
    training = case(make("psl"), sizes=sizes, batch=6, epochs=1, tail=True, rate=0.1, seed=seed)
    client, upper = training.segments()
    clients, server = [client(one) for one in range(len(sizes))], deepcopy(upper)
    data, losses = training.clients(), []
    for own, rows in zip(clients, data.indices, strict=True):
        losses.append(F.cross_entropy(own.tail(server(own.lower(data.train.inputs[rows]))), data.train.targets[rows]))
    whole = sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)
    by_server = torch.autograd.grad(whole, list(server.parameters()), retain_graph=True)
    trainer = training.run()
    for moved, start, gradient in zip(trainer.server.segment.parameters(), server.parameters(), by_server, strict=True):
        torch.testing.assert_close(moved, start - 0.1 * gradient, atol=1e-6, rtol=1e-4)
    for one, (own, loss) in enumerate(zip(clients, losses, strict=True)):
        found = trainer.engine.collect((one,))
        gradients = torch.autograd.grad(loss, list(own.parameters()), retain_graph=True)
        for (name, start), gradient in zip(own.named_parameters(), gradients, strict=True):
            torch.testing.assert_close(found[name][0], start.detach() - 0.1 * gradient, atol=1e-6, rtol=1e-4)


@every_split_method
def test_the_server_is_never_told_a_label(case, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Uplink] = []
    events: list[Event] = []
    trainer = case(make(name), sizes=UNEQUAL, tail=True, hooks=Hooks(observe=events.append)).build()
    forward = trainer.engine.forward

    def watched(step: int) -> Uplink | None:
        uplink = forward(step)
        sent.extend([uplink] if uplink is not None else [])
        return uplink

    monkeypatch.setattr(trainer.engine, "forward", watched)
    trainer.run()
    assert sent
    assert all(uplink.told is None for uplink in sent)
    assert not bool(trainer.server.loss.label_counts.any())
    traffic = [event for event in events if isinstance(event, Traffic)]
    assert {event.kind for event in traffic} >= {"smashed", "features", "feature_gradients"}
    assert "labels" not in {event.kind for event in traffic}
    down = sum(int(event.sizes.sum()) for event in traffic if event.kind == "features")
    assert down == sum(sum(uplink.sizes) for uplink in sent) * 3 * 4  # three features of four bytes


@covering(name=WITH_TAIL, stop_after=[1, 4])
def test_resumed_equals_uninterrupted_bit_for_bit(case, state_of, name: str, stop_after: int) -> None:
    training = case(
        make(name), sizes=(8, 2, 5), tail=True, norm=True, dropout=0.3, optimizer="adam", label_prior="own", seed=5
    )
    whole = training.run()
    begun = training.build()
    begun.hooks = Hooks(stop=lambda: begun.progress.steps >= stop_after)
    with pytest.raises(Interrupted):
        begun.run()
    resumed = training.build()
    resumed.restore(state_of(begun), begun.progress)
    resumed.run()
    first, second = state_of(whole), state_of(resumed)
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


def test_clients_that_leave_the_stack_train_the_same(case) -> None:
    kept, left = (
        case(make("psl"), sizes=UNEQUAL, tail=True, participation=0.5, epochs=4, clients_leave=leave).run()
        for leave in (False, True)
    )
    everyone = tuple(range(len(UNEQUAL)))
    assert_close(dict(kept.engine.collect(everyone)), dict(left.engine.collect(everyone)), atol=0)


@pytest.mark.slow
def test_it_learns_and_the_trained_network_is_the_one_that_was_tested(tmp_path: Path) -> None:
    run = train(
        **{**DIGITS, "method": "sfl", "epochs": 12, "samples_per_client": 200, "lr": 3e-3}, out=tmp_path / "run"
    )
    assert run.summary["test"]["accuracy"] > 0.8
    assert run.summary["tail"] == "relu2"
    sent = run.summary["communication"]["by_kind"]
    assert sent["up"]["feature_gradients"] == sent["down"]["features"] > 0
    assert "labels" not in sent["up"]
    model = load_model(run.path)
    assert [name for name, _ in model.named_children()] == ["client", "server", "tail"]
    test = build(run.experiment).data.test
    accuracy = float((model(test.inputs).argmax(1) == test.targets).double().mean())
    assert accuracy == pytest.approx(run.summary["test"]["accuracy"], abs=1e-9)


@dataclass(frozen=True)
class Balancing(Method):
    """A method of one's own that weighs the gradients of rare classes more."""

    says_so: bool = True

    @property
    def needs_labels(self) -> bool:
        return self.says_so

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        rare = 1 + (uplink.labels > 4)
        return Downlink(server.learn(uplink, context, context.server_rate) * rare[..., None])


@pytest.mark.parametrize("says_so", [True, False])
def test_a_method_of_ones_own_that_reads_labels_is_refused(says_so: bool, tmp_path: Path) -> None:
    """Before training if it says so, and else in the first step: it never sees labels that are none."""
    assert train(Balancing(says_so), out=tmp_path / "told", **{**DIGITS, "tail": None}).summary
    with pytest.raises(UsageError, match=r"tail = .*: the method reads labels.*stay with the clients; leave"):
        train(Balancing(says_so), out=tmp_path / "run", **DIGITS)
    assert not says_so or not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "field", "told"),
    [
        ({"tail": "fc1"}, "tail", "not behind the cut"),
        ({"tail": "relu1"}, "tail", "not behind the cut"),
        ({"tail": "relu7"}, "tail", "no such layer"),
        ({"tail": "fc3"}, "tail", "no layer with trained weights follows"),
        ({"tail": "output"}, "tail", "no layer with trained weights follows"),
        ({"tail": 17}, "tail", "the model has 6 children"),
        ({"method": "cl"}, "tail", "keeps the whole model"),
        ({"method": "fl"}, "tail", "keeps the whole model"),
        ({"method": "sglr", "average": "class"}, "tail", "reads labels with these parameters .*average='class'"),
        ({"method": "sgl", "average": "class"}, "tail", "reads labels with these parameters .*average='class'"),
        ({"engine": "remote", "pipelining": True}, "pipelining", "second exchange"),
        ({"engine": "ray", "ray_server": "cluster"}, "ray_server", "during a step"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_remedy(wrong: dict[str, object], field: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        build(Experiment.from_flat({**DIGITS, **wrong}))
    assert caught.value.field == field
    assert caught.value.remedy
