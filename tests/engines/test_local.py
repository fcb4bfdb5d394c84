"""The engine that holds all clients in one process: batches, padding, evaluation, and falling back to a loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sglr.core.data import ClientData, Samples
from sglr.core.optim import OptimizerSpec
from sglr.core.scores import Scores
from sglr.core.task import Targets
from sglr.core.types import Downlink
from sglr.engines.local import Local
from sglr.methods.fl import FL
from sglr.methods.psl import PSL
from sglr.parties.spec import ClientSpec
from sglr.tasks.classification import Classification

both_ways = pytest.mark.parametrize("stacking", ["stacked", "looped"])


def make_engine(
    segment,
    sizes: Sequence[int],
    *,
    batch: int,
    shape=(4,),
    stacking: str = "stacked",
    seed: int = 0,
    optimizer: str = "sgd",
) -> Local:
    """Build an engine whose sample n has the label n, so that labels tell which samples were used."""
    total = sum(sizes)
    inputs = torch.randn(total, *shape, generator=torch.Generator().manual_seed(1))
    samples = Samples(inputs, torch.arange(total))
    data = ClientData(samples, torch.arange(total).split(list(sizes)), None, samples, Targets.of_classes(("a",)))
    return Local(
        ClientSpec(
            segment, data, Classification(), batch, OptimizerSpec(optimizer), None, seed, torch.device("cpu"), stacking
        )
    )


def make_norm(client: int) -> nn.Module:
    return nn.BatchNorm1d(4, momentum=1.0)


def make_linear(client: int) -> nn.Module:
    torch.default_generator.manual_seed(client)
    return nn.Linear(4, 2)


def make_images(client: int) -> nn.Module:
    torch.default_generator.manual_seed(client)
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2))


# Batches.


@both_ways
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    batch=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
@settings(max_examples=15)
def test_every_sample_of_every_client_is_used_once_per_epoch(stacking, sizes, batch, epoch) -> None:
    engine = make_engine(make_linear, sizes, batch=batch, stacking=stacking)
    used: dict[int, list[int]] = {client: [] for client in range(len(sizes))}
    steps = engine.begin_epoch(tuple(range(len(sizes))), epoch)
    assert steps == max(-(-size // batch) for size in sizes)
    for step in range(steps):
        uplink = engine.forward(step)
        engine.backward(Downlink(torch.zeros_like(uplink.smashed)), 0.1)
        for place, client in enumerate(uplink.clients):
            assert uplink.sizes[place] == min(batch, sizes[client] - step * batch)
            used[client] += uplink.labels[place, : uplink.sizes[place]].tolist()
    for client, rows in used.items():
        assert sorted(rows) == engine.block.data.indices[client].tolist()


def test_clients_without_a_batch_left_are_absent() -> None:
    engine = make_engine(make_linear, (5, 2, 9), batch=4)
    assert engine.begin_epoch((0, 1, 2), 0) == 3
    found = []
    for step in range(3):
        uplink = engine.forward(step)
        engine.backward(Downlink(torch.zeros_like(uplink.smashed)), 0.1)
        found.append((uplink.clients, uplink.sizes))
    assert found == [((0, 1, 2), (4, 2, 4)), ((0, 2), (1, 4)), ((2,), (1,))]


def orders(engine: Local, cohort: tuple[int, ...], epoch: int) -> dict[int, list[int]]:
    steps = engine.begin_epoch(cohort, epoch)
    found: dict[int, list[int]] = {client: [] for client in cohort}
    for step in range(steps):
        uplink = engine.forward(step)
        for place, client in enumerate(uplink.clients):
            found[client] += uplink.labels[place, : uplink.sizes[place]].tolist()
    return found


def test_the_order_depends_on_seed_client_and_epoch_and_not_on_company() -> None:
    engine, other = (make_engine(make_linear, (9, 9, 9), batch=2, seed=seed) for seed in (0, 1))
    together = orders(engine, (0, 1, 2), 4)
    assert orders(engine, (1,), 4)[1] == together[1]
    assert orders(engine, (0, 1, 2), 4) == together
    assert orders(engine, (1,), 5)[1] != together[1]
    assert orders(other, (1,), 4)[1] != together[1]
    assert [row - 9 for row in together[1]] != together[0]


@both_ways
@pytest.mark.parametrize(("make", "shape"), [(make_linear, (4,)), (make_images, (2, 6, 6))], ids=["vectors", "images"])
@pytest.mark.parametrize("sizes", [(4, 4, 4), (4, 2, 3)], ids=["equal", "unequal"])
def test_what_is_sent_is_each_clients_segment_on_its_own_samples(stacking, make, shape, sizes) -> None:
    engine = make_engine(make, sizes, batch=4, shape=shape, stacking=stacking)
    engine.begin_epoch((0, 1, 2), 0)
    uplink = engine.forward(0)
    assert not uplink.smashed.requires_grad
    for client, size in enumerate(sizes):
        inputs = engine.block.data.train.inputs[uplink.labels[client, :size]]
        wanted = make(client)(inputs).detach()
        torch.testing.assert_close(uplink.smashed[client, :size], wanted, atol=1e-5, rtol=1e-5)
        assert not uplink.smashed[client, size:].any()


# Padding.


@both_ways
def test_padding_never_reaches_a_client(stacking: str) -> None:
    """Statistics of unequal batches are those of the real samples alone."""
    sizes = (2, 5, 3)
    engine = make_engine(make_norm, sizes, batch=5, stacking=stacking)
    engine.begin_epoch((0, 1, 2), 0)
    engine.forward(0)
    found = engine.collect((0, 1, 2))
    for client, rows in enumerate(engine.block.data.indices):
        real = engine.block.data.train.inputs[rows].numpy()
        np.testing.assert_allclose(found["running_mean"][client], real.mean(0), atol=1e-5)
        np.testing.assert_allclose(found["running_var"][client], real.var(0, ddof=1), atol=1e-5)
        assert found["num_batches_tracked"][client] == 1


@both_ways
def test_what_the_server_sends_for_padding_is_not_back_propagated(stacking: str) -> None:
    sizes = (2, 5, 3)
    engine = make_engine(lambda _: nn.Linear(4, 2, bias=False), sizes, batch=5, stacking=stacking)
    before = engine.collect((0, 1, 2))["weight"]
    engine.begin_epoch((0, 1, 2), 0)
    uplink = engine.forward(0)
    cut = torch.full_like(uplink.smashed, torch.nan)
    for client, size in enumerate(sizes):
        cut[client, :size] = 1.0
    engine.backward(Downlink(cut), 0.5)
    after = engine.collect((0, 1, 2))["weight"]
    for client, rows in enumerate(engine.block.data.indices):
        # A gradient of one for both outputs is the sum of the inputs in both rows of the weight.
        wanted = before[client] - 0.5 * engine.block.data.train.inputs[rows].sum(0)
        torch.testing.assert_close(after[client], wanted)


@both_ways
def test_clients_of_one_batch_size_step_without_disturbing_those_of_another(stacking: str) -> None:
    """Rows of the stack are one tensor: those of the first size must not move before the others have gone back."""

    def make(seed: int) -> nn.Module:
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))

    sizes = (2, 5, 3)
    engine = make_engine(make, sizes, batch=5, stacking=stacking, optimizer="rmsprop")
    engine.begin_epoch((0, 1, 2), 0)
    engine.backward(Downlink(torch.ones_like(engine.forward(0).smashed)), 0.1)
    after = engine.collect((0, 1, 2))
    for client, rows in enumerate(engine.block.data.indices):
        module = make(client)
        optimizer = torch.optim.RMSprop(module.parameters(), lr=0.1)
        module(engine.block.data.train.inputs[rows]).sum().backward()
        optimizer.step()
        for name, wanted in module.state_dict().items():
            torch.testing.assert_close(after[name][client], wanted, atol=1e-5, rtol=1e-4)


# Evaluation.


def naive_scores(modules: list[nn.Module], upper: nn.Module, samples: Samples) -> tuple[list[float], list[float]]:
    accuracy, loss = [], []
    for module in modules:
        with torch.no_grad():
            logits = nn.Sequential(module, upper).eval()(samples.inputs)
        accuracy.append(float((logits.argmax(1) == samples.targets).double().mean()))
        loss.append(float(F.cross_entropy(logits, samples.targets)))
    return accuracy, loss


@both_ways
@pytest.mark.parametrize("values", [None, 4 * 64 * 2, 4 * 10, 1], ids=["at-once", "pairs", "tens", "one-by-one"])
def test_evaluation_equals_a_loop_over_clients(case, monkeypatch, stacking: str, values: int | None) -> None:
    """In chunks of two clients and 64 samples, or one and 10, that divide neither 5 clients nor 155 samples.

    The widest of input and cut is an input's 4 values.
    """
    if values is not None:
        monkeypatch.setattr("sglr.parties.evaluation.EVALUATION_VALUES", {"cpu": values})
    training = case(PSL(), sizes=(4,) * 5, batch=4, norm=True, stacking=stacking, label_prior="own")
    trainer = training.run()
    number = 155 if values != 1 else 7
    inputs = torch.randn(number, 4, generator=torch.Generator().manual_seed(2))
    samples = Samples(inputs, inputs[:, :3].argmax(1))
    lower, upper = training.segments()
    upper.load_state_dict(trainer.server.segment.state_dict())
    modules = [lower(client) for client in range(5)]
    for client, module in enumerate(modules):
        module.load_state_dict({name: tensor[0] for name, tensor in trainer.engine.collect((client,)).items()})
    before = {name: tensor.clone() for name, tensor in trainer.state().items()}
    for clients in ((0, 1, 2, 3, 4), (1, 4), (3,)):
        scores = trainer.engine.evaluate(trainer.server.segment, samples, clients)
        accuracy, loss = naive_scores([modules[client] for client in clients], upper, samples)
        np.testing.assert_allclose(scores.values["accuracy"], accuracy, atol=1e-7)
        np.testing.assert_allclose(scores.loss, loss, atol=1e-5)
        assert scores.mean("accuracy") == pytest.approx(np.mean(accuracy))
        assert scores.std("accuracy") == pytest.approx(np.std(accuracy), abs=1e-7)
        assert scores.mean("loss") == pytest.approx(np.mean(loss), abs=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in trainer.state().items())


@both_ways
def test_evaluation_of_images(stacking: str) -> None:
    engine = make_engine(make_images, (4, 4), batch=4, shape=(2, 6, 6), stacking=stacking)
    torch.default_generator.manual_seed(9)
    upper = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Flatten(), nn.Linear(3, 8))
    samples = engine.block.data.train
    accuracy, loss = naive_scores([make_images(0), make_images(1)], upper, samples)
    scores = engine.evaluate(upper, samples, (0, 1))
    np.testing.assert_allclose(scores.values["accuracy"], accuracy, atol=1e-7)
    np.testing.assert_allclose(scores.loss, loss, atol=1e-5)


def test_the_spread_over_one_client_is_none() -> None:
    scores = Scores({"accuracy": torch.tensor([0.5])}, torch.tensor([1.0]))
    assert (scores.mean("accuracy"), scores.std("accuracy"), scores.mean("loss")) == (0.5, 0.0, 1.0)


# Models that can't be stacked.


class Branching(nn.Module):
    """Asks its data which way to go, which cannot be answered for several clients at once."""

    def __init__(self, client: int) -> None:
        super().__init__()
        torch.default_generator.manual_seed(client)
        self.norm = nn.BatchNorm1d(4)
        self.one, self.other = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.one(x) if x.sum() > 0 else self.other(x)


@pytest.mark.parametrize("method", [PSL(), FL()], ids=["split", "whole"])
def test_a_model_that_cannot_be_stacked_is_looped_and_says_so_once(case, state_of, caplog, method) -> None:
    with caplog.at_level(logging.WARNING):
        trainer = case(method, lower=Branching, stacking="auto").run()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert said[0].startswith("clients run one after another, because this model can't be stacked: ")
    assert not trainer.engine.block.stack.stacked
    found, wanted = state_of(trainer), state_of(case(method, lower=Branching, stacking="looped").run())
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("sizes", [(6, 6, 6), (1, 1), (2, 1)], ids=["many", "two-samples", "three-samples"])
def test_a_model_that_can_be_stacked_is_and_the_trial_leaves_no_trace(case, state_of, caplog, sizes) -> None:
    with caplog.at_level(logging.WARNING):
        tried = case(PSL(), sizes=sizes, norm=sizes == (6, 6, 6), stacking="auto").build()
    assert tried.engine.block.stack.stacked
    assert not caplog.records
    found, wanted = state_of(tried), state_of(case(PSL(), sizes=sizes, norm=sizes == (6, 6, 6)).build())
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_one_client_alone_is_never_stacked(case) -> None:
    assert not case(PSL(), sizes=(6,), stacking="stacked").build().engine.block.stack.stacked
