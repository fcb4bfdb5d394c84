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
from sglr.core.task import Targets
from sglr.data.batches import Batching
from sglr.engines.remote.client.job import Job
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.parties.defences import parse
from sglr.splitting import ClientSegments
from sglr.tasks.classification import Classification

CLIENT, SEED, BATCH = 3, 7, 4


def make_segment() -> nn.Module:
    torch.default_generator.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3), nn.Tanh())


def make_worker(ahead: int = 0, optimizer: str = "sgd:momentum=0.9", **options: Any) -> LocalTrainer:
    inputs = torch.randn(11, 4, generator=torch.Generator().manual_seed(5))
    samples = Samples(inputs, torch.arange(11) % 3)
    held = {"test": Samples(inputs[:5] + 1, torch.zeros(5, dtype=torch.int64))}
    spec = OptimizerSpec.parse(optimizer)
    segment = options.pop("segment", None) or make_segment()
    return LocalTrainer(
        Job(
            CLIENT,
            segment,
            samples,
            held,
            Classification(),
            Targets(classes=3),
            options.pop("batching", Batching(BATCH)),
            spec,
            seed=SEED,
            ahead=ahead,
            **options,
        )
    )


def batch(trainer: LocalTrainer, step: int, epoch: int = 0) -> Tensor:
    rows = generator(SEED, "order", CLIENT, epoch).permutation(11)[step * BATCH : (step + 1) * BATCH]
    return trainer.job.train.inputs[rows]


def gradient(step: int, shape: torch.Size) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(100 + step))


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("ahead", [0, 1])
def test_it_trains_like_a_plain_segment_whose_gradients_are_so_many_steps_old(ahead: int) -> None:
    """By hand: the pass of step t has the weights after step t - 1 - ahead; buffers move in the order of passes."""
    trainer, plain = make_worker(ahead), make_segment()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    waiting: list[tuple[nn.Module, Tensor]] = []

    def forward(step: int) -> None:
        run = copy.deepcopy(plain).train()
        outputs = run(batch(trainer, step))
        with torch.no_grad():
            for own, moved in zip(plain.buffers(), run.buffers(), strict=True):
                own.copy_(moved)
        waiting.append((run, outputs))
        torch.testing.assert_close(trainer.forward(0, step)["values"], outputs.detach())

    for step in range(1 + ahead):
        forward(step)
    for step in range(3):
        run, outputs = waiting.pop(0)
        arrived = gradient(step, outputs.shape)
        found = torch.autograd.grad(outputs, list(run.parameters()), arrived)
        for parameter, own in zip(plain.parameters(), found, strict=True):
            parameter.grad = own
        optimizer.step()
        trainer.backward(arrived, 0.1)
        if step + 1 + ahead < 3:
            forward(step + 1 + ahead)
    for name, tensor in {**dict(plain.named_parameters()), **dict(plain.named_buffers())}.items():
        torch.testing.assert_close(trainer.weights()[name], tensor.detach(), msg=name)


def test_a_pass_that_is_dropped_leaves_no_trace() -> None:
    trainer = make_worker()
    trainer.forward(0, 0)
    trainer.backward(torch.ones(4, 3), 0.1)
    before = trainer.state()
    before = {name: tensor.clone() for name, tensor in before.items()}
    first = trainer.forward(0, 1)
    assert not same(before, trainer.state()), "normalisation has moved its buffers"
    trainer.drop_passes()
    assert same(before, trainer.state())
    assert same(first, trainer.forward(0, 1))


def test_it_goes_on_from_its_state_as_if_nothing_had_happened() -> None:
    trainer, other = make_worker(optimizer="adam"), make_worker(optimizer="adam")
    for step in range(2):
        shape = trainer.forward(0, step)["values"].shape
        trainer.backward(gradient(step, shape), 0.1)
    other.restore({name: tensor.clone() for name, tensor in trainer.state().items()})
    for one in (trainer, other):
        shape = one.forward(0, 2)["values"].shape
        one.backward(gradient(2, shape), 0.1)
    assert trainer.digest() == other.digest()
    assert same(trainer.state(), other.state())


def test_held_out_samples_go_through_the_own_weights_or_shared_ones() -> None:
    trainer = make_worker()
    inputs = trainer.job.held["test"].inputs
    own = copy.deepcopy(make_segment()).eval()
    torch.testing.assert_close(
        trainer.held_out.score("test", 1, 3, None, again=False)["values"], own(inputs[1:4]).detach()
    )
    shared = {
        name: tensor + 0.5 if tensor.is_floating_point() else tensor for name, tensor in trainer.weights().items()
    }
    own.load_state_dict(shared)
    before = trainer.digest()
    first = trainer.held_out.score("test", 0, 3, shared, again=False)
    rest = trainer.held_out.score("test", 3, 3, None, again=True)
    torch.testing.assert_close(torch.cat([first["values"], rest["values"]]), own(inputs).detach())
    assert rest["labels"].tolist() == [0, 0]
    assert trainer.digest() == before


@pytest.mark.parametrize("optimizer", ["sgd:momentum=0.9", "adam"])
def test_a_round_begins_with_a_fresh_optimizer_even_after_a_snapshot_within_the_round_before(optimizer: str) -> None:
    """Rounds of two epochs: what the optimizer remembers lives through the second epoch, and not into the third."""

    def step(trainer: LocalTrainer, epoch: int) -> None:
        shape = trainer.forward(epoch, 0)["values"].shape
        trainer.backward(gradient(epoch, shape), 0.1)

    trainer = make_worker(optimizer=optimizer, round_of=lambda epoch: epoch // 2)
    keeps = make_worker(optimizer=optimizer)
    for epoch in (0, 1):
        step(trainer, epoch)
        step(keeps, epoch)
    assert same(trainer.weights(), keeps.weights())
    again = make_worker(optimizer=optimizer, round_of=lambda epoch: epoch // 2)
    again.restore({name: tensor.clone() for name, tensor in trainer.state().items()})
    fresh = make_worker(optimizer=optimizer)
    fresh.take_up(trainer.weights())
    for one in (trainer, again, fresh, keeps):
        step(one, 2)
    assert same(trainer.weights(), fresh.weights())
    assert same(trainer.weights(), again.weights())
    assert not same(trainer.weights(), keeps.weights())
    again.restore({name: tensor.clone() for name, tensor in trainer.state().items()})
    for one in (trainer, again, fresh):
        step(one, 3)
    assert same(trainer.weights(), fresh.weights())
    assert same(trainer.weights(), again.weights())


def test_a_client_with_a_tail_sends_no_label_and_needs_features_before_its_gradient() -> None:
    """Its labels change nothing in the names of what it sends, and its step is that of the whole model."""
    segment = ClientSegments(make_segment(), nn.Linear(2, 3), (2,))
    server = nn.Linear(3, 2)
    trainer = make_worker(segment=segment)
    own = copy.deepcopy(segment)
    sent = trainer.forward(0, 0)
    assert set(sent) == {"values"}
    with pytest.raises(ValueError, match="before the features"):
        trainer.backward(torch.zeros(BATCH, 3), 0.1)
    sent = trainer.forward(0, 0)
    smashed = sent["values"].clone().requires_grad_()
    features = server(smashed)
    gradients, loss, correct = trainer.answer(features.detach())
    labels = trainer.job.train.targets[torch.from_numpy(generator(SEED, "order", CLIENT, 0).permutation(11)[:BATCH])]
    logits = own.tail(server(own.lower(batch(trainer, 0))))
    whole = torch.nn.functional.cross_entropy(logits, labels)
    assert loss == pytest.approx(whole.item() * BATCH, rel=1e-5)
    assert correct == int((logits.argmax(1) == labels).sum())
    (cut,) = torch.autograd.grad(features, smashed, gradients)
    trainer.backward(cut, 0.1)
    whole.backward()
    for name, parameter in own.named_parameters():
        torch.testing.assert_close(
            trainer.weights()[name], (parameter - 0.1 * parameter.grad).detach(), atol=1e-5, rtol=0
        )
    assert set(trainer.held_out.score("test", 0, 5, None, again=False)) == {"values"}


@pytest.mark.parametrize("optimizer", ["sgd:momentum=0.9", "adam"])
def test_a_pass_alone_whose_loss_stops_being_a_number_is_undone(optimizer: str) -> None:
    layers = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.Linear(3, 3))
    trainer = make_worker(optimizer=optimizer, segment=layers)
    trainer.train_locally(0, (0.1,))
    before = {name: tensor.clone() for name, tensor in trainer.state().items()}
    assert trainer.train_locally(1, (1e30,)).bad_step is not None
    assert same(before, trainer.state())
    # It goes on as one that was absent.
    assert trainer.train_locally(2, (0.1,)).bad_step is None


def test_smashed_data_that_the_server_would_refuse_are_not_sent() -> None:
    trainer = make_worker(segment=nn.Sequential(nn.Linear(4, 3)))
    trainer.take_up({name: tensor * 1e6 for name, tensor in trainer.weights().items()})
    with pytest.raises(ExtremeValues, match="not finite or too large"):
        trainer.forward(0, 0)
    assert trainer.passes() == []


def test_a_step_that_is_asked_for_again_has_the_same_secret_noise_in_a_later_process_too() -> None:
    defences = [parse("clip:norm=1+noise:sigma=8,secret=true", SEED) for _ in range(2)]
    trainer, later = (make_worker(segment=own.covered(make_segment()), defences=own) for own in defences)
    before, first = trainer.state(), trainer.forward(0, 0)["values"]
    for _ in range(3):
        trainer.drop_passes()
        assert torch.equal(trainer.forward(0, 0)["values"], first)
    assert not torch.equal(later.forward(0, 0)["values"], first)
    later.restore(before)
    assert torch.equal(later.forward(0, 0)["values"], first)


def test_what_a_defence_remembers_is_in_the_snapshot() -> None:
    trainer, later = (make_worker(defences=parse("scrutiny:window=3")) for _ in range(2))
    for step in range(2):
        trainer.backward(gradient(step, trainer.forward(0, step)["values"].shape), 0.1)
    later.restore(trainer.state())
    assert same(trainer.state(), later.state())
    assert len(later.job.defences.memory("scrutiny", CLIENT)["window"].steps) == 2
    # A snapshot of an earlier version has nothing of it.
    kept = {name: tensor for name, tensor in trainer.state().items() if not name.startswith("defences.")}
    make_worker(defences=parse("scrutiny:window=3")).restore(kept)
