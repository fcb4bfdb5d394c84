"""One client's computing, without network: what it undoes, what it keeps, and what running ahead means."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sglr.core.data import Samples
from sglr.core.errors import ExtremeValues
from sglr.core.optim import OptimizerSpec
from sglr.core.random import generator
from sglr.data.batches import Batching
from sglr.engines.remote.client.task import Task
from sglr.engines.remote.client.trainer import Worker
from sglr.splitting import ClientSegments

CLIENT, SEED, BATCH = 3, 7, 4


def make_segment() -> nn.Module:
    torch.default_generator.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3), nn.Tanh())


def make_worker(ahead: int = 0, optimizer: str = "sgd:momentum=0.9", **options: Any) -> Worker:
    inputs = torch.randn(11, 4, generator=torch.Generator().manual_seed(5))
    samples = Samples(inputs, torch.arange(11) % 3)
    held = {"test": Samples(inputs[:5] + 1, torch.zeros(5, dtype=torch.int64))}
    spec = OptimizerSpec.parse(optimizer)
    segment = options.pop("segment", None) or make_segment()
    return Worker(Task(CLIENT, segment, samples, held, 3, Batching(BATCH), spec, seed=SEED, ahead=ahead, **options))


def batch(worker: Worker, step: int, epoch: int = 0) -> Tensor:
    rows = generator(SEED, "order", CLIENT, epoch).permutation(11)[step * BATCH : (step + 1) * BATCH]
    return worker.task.train.inputs[rows]


def gradient(step: int, shape: torch.Size) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(100 + step))


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("ahead", [0, 1])
def test_it_trains_like_a_plain_segment_whose_gradients_are_so_many_steps_old(ahead: int) -> None:
    """By hand: the pass of step t has the weights after step t - 1 - ahead; buffers move in the order of passes."""
    worker, plain = make_worker(ahead), make_segment()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    waiting: list[tuple[nn.Module, Tensor]] = []

    def forward(step: int) -> None:
        run = copy.deepcopy(plain).train()
        outputs = run(batch(worker, step))
        with torch.no_grad():
            for own, moved in zip(plain.buffers(), run.buffers(), strict=True):
                own.copy_(moved)
        waiting.append((run, outputs))
        torch.testing.assert_close(worker.forward(0, step)["values"], outputs.detach())

    for step in range(1 + ahead):
        forward(step)
    for step in range(3):
        run, outputs = waiting.pop(0)
        arrived = gradient(step, outputs.shape)
        found = torch.autograd.grad(outputs, list(run.parameters()), arrived)
        for parameter, own in zip(plain.parameters(), found, strict=True):
            parameter.grad = own
        optimizer.step()
        worker.backward(arrived, 0.1)
        if step + 1 + ahead < 3:
            forward(step + 1 + ahead)
    for name, tensor in {**dict(plain.named_parameters()), **dict(plain.named_buffers())}.items():
        torch.testing.assert_close(worker.weights()[name], tensor.detach(), msg=name)


def test_a_pass_that_is_dropped_leaves_no_trace() -> None:
    worker = make_worker()
    worker.forward(0, 0)
    worker.backward(torch.ones(4, 3), 0.1)
    before = worker.state()
    before = {name: tensor.clone() for name, tensor in before.items()}
    first = worker.forward(0, 1)
    assert not same(before, worker.state()), "normalisation has moved its buffers"
    worker.drop_passes()
    assert same(before, worker.state())
    assert same(first, worker.forward(0, 1))


def test_it_goes_on_from_its_state_as_if_nothing_had_happened() -> None:
    worker, other = make_worker(optimizer="adam"), make_worker(optimizer="adam")
    for step in range(2):
        shape = worker.forward(0, step)["values"].shape
        worker.backward(gradient(step, shape), 0.1)
    other.restore({name: tensor.clone() for name, tensor in worker.state().items()})
    for one in (worker, other):
        shape = one.forward(0, 2)["values"].shape
        one.backward(gradient(2, shape), 0.1)
    assert worker.digest() == other.digest()
    assert same(worker.state(), other.state())


def test_held_out_samples_go_through_the_own_weights_or_shared_ones() -> None:
    worker = make_worker()
    inputs = worker.task.held["test"].inputs
    own = copy.deepcopy(make_segment()).eval()
    torch.testing.assert_close(worker.score("test", 1, 3, None, again=False)["values"], own(inputs[1:4]).detach())
    shared = {name: tensor + 0.5 if tensor.is_floating_point() else tensor for name, tensor in worker.weights().items()}
    own.load_state_dict(shared)
    before = worker.digest()
    first = worker.score("test", 0, 3, shared, again=False)
    rest = worker.score("test", 3, 3, None, again=True)
    torch.testing.assert_close(torch.cat([first["values"], rest["values"]]), own(inputs).detach())
    assert rest["labels"].tolist() == [0, 0]
    assert worker.digest() == before


@pytest.mark.parametrize("optimizer", ["sgd:momentum=0.9", "adam"])
def test_a_round_begins_with_a_fresh_optimizer_even_after_a_snapshot_within_the_round_before(optimizer: str) -> None:
    """Rounds of two epochs: what the optimizer remembers lives through the second epoch, and not into the third."""

    def step(worker: Worker, epoch: int) -> None:
        shape = worker.forward(epoch, 0)["values"].shape
        worker.backward(gradient(epoch, shape), 0.1)

    worker = make_worker(optimizer=optimizer, round_of=lambda epoch: epoch // 2)
    keeps = make_worker(optimizer=optimizer)
    for epoch in (0, 1):
        step(worker, epoch)
        step(keeps, epoch)
    assert same(worker.weights(), keeps.weights())
    again = make_worker(optimizer=optimizer, round_of=lambda epoch: epoch // 2)
    again.restore({name: tensor.clone() for name, tensor in worker.state().items()})
    fresh = make_worker(optimizer=optimizer)
    fresh.load(worker.weights())
    for one in (worker, again, fresh, keeps):
        step(one, 2)
    assert same(worker.weights(), fresh.weights())
    assert same(worker.weights(), again.weights())
    assert not same(worker.weights(), keeps.weights())
    again.restore({name: tensor.clone() for name, tensor in worker.state().items()})
    for one in (worker, again, fresh):
        step(one, 3)
    assert same(worker.weights(), fresh.weights())
    assert same(worker.weights(), again.weights())


def test_a_client_with_a_tail_sends_no_label_and_needs_features_before_its_gradient() -> None:
    """Its labels change nothing in the names of what it sends, and its step is that of the whole model."""
    segment = ClientSegments(make_segment(), nn.Linear(2, 3), (2,))
    server = nn.Linear(3, 2)
    worker = make_worker(segment=segment)
    own = copy.deepcopy(segment)
    sent = worker.forward(0, 0)
    assert set(sent) == {"values"}
    with pytest.raises(ValueError, match="before the features"):
        worker.backward(torch.zeros(BATCH, 3), 0.1)
    sent = worker.forward(0, 0)
    smashed = sent["values"].clone().requires_grad_()
    features = server(smashed)
    gradients, loss, correct = worker.answer(features.detach())
    labels = worker.task.train.targets[torch.from_numpy(generator(SEED, "order", CLIENT, 0).permutation(11)[:BATCH])]
    logits = own.tail(server(own.lower(batch(worker, 0))))
    whole = torch.nn.functional.cross_entropy(logits, labels)
    assert loss == pytest.approx(whole.item() * BATCH, rel=1e-5)
    assert correct == int((logits.argmax(1) == labels).sum())
    (cut,) = torch.autograd.grad(features, smashed, gradients)
    worker.backward(cut, 0.1)
    whole.backward()
    for name, parameter in own.named_parameters():
        torch.testing.assert_close(
            worker.weights()[name], (parameter - 0.1 * parameter.grad).detach(), atol=1e-5, rtol=0
        )
    assert set(worker.score("test", 0, 5, None, again=False)) == {"values"}


@pytest.mark.parametrize("optimizer", ["sgd:momentum=0.9", "adam"])
def test_a_pass_alone_whose_loss_stops_being_a_number_is_undone(optimizer: str) -> None:
    layers = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.Linear(3, 3))
    worker = make_worker(optimizer=optimizer, segment=layers)
    worker.train_locally(0, 0.1)
    before = {name: tensor.clone() for name, tensor in worker.state().items()}
    assert worker.train_locally(1, 1e30).bad_step is not None
    assert same(before, worker.state())
    # It goes on as one that was absent.
    assert worker.train_locally(2, 0.1).bad_step is None


def test_smashed_data_that_the_server_would_refuse_are_not_sent() -> None:
    worker = make_worker(segment=nn.Sequential(nn.Linear(4, 3)))
    worker.load({name: tensor * 1e6 for name, tensor in worker.weights().items()})
    with pytest.raises(ExtremeValues, match="not finite or too large"):
        worker.forward(0, 0)
    assert worker.passes() == []
