"""The server: one joint loss, how it is normalised, label priors, clipping, and its checkpoint."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sglr.core.optim import OptimizerSpec
from sglr.core.types import StepContext, Uplink
from sglr.parties.server import SplitServer
from sglr.parties.server_spec import ServerSpec
from sglr.tasks.classification import Classification, binary_cross_entropy

W = np.array([[1.0, -0.5], [0.25, 0.75], [-1.0, 0.5]])
"""The weight of the upper segment: 2 values at the cut, 3 classes."""

AT = StepContext(0, 1, 0, 1, np.random.default_rng(0))
RATE = 0.5


def make_server(optimizer: str = "sgd", segment: nn.Module | None = None, **options: Any) -> SplitServer:
    if segment is None:
        segment = nn.Linear(2, 3, bias=False)
        segment.weight = nn.Parameter(torch.tensor(W, dtype=torch.float32))
    settings = {"task": Classification(), "classes": 3, "clients": 4, "label_prior": "ignore"}
    spec = ServerSpec(segment, OptimizerSpec.parse(optimizer), **(settings | options))
    return SplitServer(spec, torch.device("cpu"))


def make_uplink(sizes: tuple[int, ...], clients: tuple[int, ...] | None = None, seed: int = 0) -> Uplink:
    rng = np.random.default_rng(seed)
    smashed, labels = torch.zeros(len(sizes), max(sizes), 2), torch.zeros(len(sizes), max(sizes), dtype=torch.int64)
    for i, size in enumerate(sizes):
        smashed[i, :size] = torch.from_numpy(rng.normal(size=(size, 2)))
        labels[i, :size] = torch.from_numpy(rng.integers(3, size=size))
    return Uplink(smashed, labels, clients or tuple(range(len(sizes))), sizes)


def by_hand(uplink: Uplink, log_prior: np.ndarray | None = None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Per client: each sample's gradient by the logits, and by the cut."""
    by_logits = []
    for i, size in enumerate(uplink.sizes):
        z = uplink.smashed[i, :size].double().numpy() @ W.T
        if log_prior is not None:
            z = z + log_prior[i]
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        by_logits.append(p - np.eye(3)[uplink.labels[i, :size].numpy()])
    return by_logits, [g @ W for g in by_logits]


@pytest.mark.parametrize("sizes", [(3, 3), (2, 4, 1)], ids=["equal", "unequal"])
def test_cut_gradients_are_of_each_clients_own_mean_loss(sizes) -> None:
    uplink = make_uplink(sizes)
    found = make_server().learn(uplink, AT, RATE)
    _, cut = by_hand(uplink)
    for i, size in enumerate(sizes):
        np.testing.assert_allclose(found[i, :size], cut[i] / size, atol=1e-6)
        assert not found[i, size:].any()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.lists(st.integers(1, 4), max_size=3))
def test_cut_gradients_do_not_change_when_more_clients_join(sizes: list[int], joining: list[int]) -> None:
    few = make_uplink(tuple(sizes))
    many = make_uplink((*sizes, *joining))
    alone, together = make_server(clients=9).learn(few, AT, RATE), make_server(clients=9).learn(many, AT, RATE)
    for i, size in enumerate(sizes):
        torch.testing.assert_close(alone[i, :size], together[i, :size], atol=1e-6, rtol=1e-5)


def test_the_server_steps_on_the_mean_over_all_samples() -> None:
    uplink = make_uplink((2, 4, 1))
    server = make_server()
    server.learn(uplink, AT, 2.0 * RATE)
    by_logits, _ = by_hand(uplink)
    gradient = sum(by_logits[i].T @ uplink.smashed[i, :n].numpy() for i, n in enumerate((2, 4, 1))) / 7
    np.testing.assert_allclose(server.segment.weight.detach(), W - 0.5 * 2.0 * gradient, atol=1e-6)
    assert server.last_rate == 1.0


@pytest.mark.parametrize("clip_norm", [0.01, 100.0])
def test_the_gradient_is_clipped_to_a_norm(clip_norm: float) -> None:
    uplink = make_uplink((2, 2))
    plain, clipped = make_server(), make_server(clip_norm=clip_norm)
    cut = plain.learn(uplink, AT, RATE)
    assert torch.equal(clipped.learn(uplink, AT, RATE), cut)  # it is the server's own; clients clip theirs
    step = W - plain.segment.weight.detach().double().numpy()
    norm = np.linalg.norm(step) / 0.5
    wanted = W - step * min(1.0, clip_norm / norm)
    np.testing.assert_allclose(clipped.segment.weight.detach(), wanted, atol=1e-6)


def test_batch_statistics_are_those_of_all_real_samples_together() -> None:
    """One forward pass over everything (Algorithm 1), without padding."""
    uplink = make_uplink((2, 4, 1))
    server = make_server(segment=nn.Sequential(nn.BatchNorm1d(2, momentum=1.0), nn.Linear(2, 3)))
    server.learn(uplink, AT, RATE)
    norm = server.segment[0]
    real = torch.cat([uplink.smashed[i, :n] for i, n in enumerate((2, 4, 1))]).numpy()
    np.testing.assert_allclose(norm.running_mean, real.mean(0), atol=1e-6)
    np.testing.assert_allclose(norm.running_var, real.var(0, ddof=1), atol=1e-6)


def test_a_segment_without_weights_gives_gradients_by_the_logits() -> None:
    uplink = make_uplink((2, 2))
    logits = Uplink(uplink.smashed @ torch.tensor(W, dtype=torch.float32).T, uplink.labels, uplink.clients, (2, 2))
    found = make_server(segment=nn.Identity()).learn(logits, AT, RATE)
    by_logits, _ = by_hand(uplink)
    np.testing.assert_allclose(found, np.stack(by_logits) / 2, atol=1e-6)


# Label priors.


def with_labels(rows: list[list[int]], clients: tuple[int, ...]) -> Uplink:
    uplink = make_uplink(tuple(map(len, rows)), clients)
    for i, row in enumerate(rows):
        uplink.labels[i, : len(row)] = torch.tensor(row)
    return uplink


def test_log_priors_are_counted_from_the_labels_received_with_one_added() -> None:
    server = make_server(label_prior="own")
    uplink = with_labels([[0, 0, 1], [2, 2, 2]], (1, 3))
    first, second = server.learn(uplink, AT, 0.0), server.learn(uplink, AT, 0.0)
    once = np.log(np.array([[3, 2, 1], [1, 1, 4]]) / 6)  # (2, 1, 0) + 1 and (0, 0, 3) + 1
    twice = np.log(np.array([[5, 3, 1], [1, 1, 7]]) / 9)
    for found, prior in ((first, once), (second, twice)):
        _, cut = by_hand(uplink, prior)
        np.testing.assert_allclose(found, np.stack(cut) / 3, atol=1e-6)
    assert server.loss.label_counts.tolist() == [[0, 0, 0], [4, 2, 0], [0, 0, 0], [0, 0, 6]]


def test_priors_belong_to_clients_in_unequal_batches_too() -> None:
    server = make_server(label_prior="own")
    uplink = with_labels([[1], [0, 2, 2]], (0, 2))
    found = server.learn(uplink, AT, RATE)
    _, cut = by_hand(uplink, np.log(np.array([[1 / 4, 2 / 4, 1 / 4], [2 / 6, 1 / 6, 3 / 6]])))
    np.testing.assert_allclose(found[0, :1], cut[0], atol=1e-6)
    np.testing.assert_allclose(found[1], cut[1] / 3, atol=1e-6)


def test_training_accuracy_is_that_of_plain_logits() -> None:
    """A client that has only seen class 2 would be right with its prior added, and is not without."""
    server = make_server(label_prior="own")
    counts = with_labels([[2] * 50], (0,))
    counts.smashed.zero_()
    server.learn(counts, AT, 0.0)
    server.restart_metrics()
    one = Uplink(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[2]]), (0,), (1,))  # logits 1, 0.25, −1
    server.learn(one, AT, 0.0)
    tally = server.read_metrics()
    assert tally.accuracy == 0.0
    z = W @ [1.0, 0.0] + np.log(np.array([1, 1, 52]) / 54)
    assert z.argmax() == 2
    assert tally.mean_loss == pytest.approx(-np.log(np.exp(z[2]) / np.exp(z).sum()), rel=1e-5)


def test_ignored_priors_change_nothing_and_count_nothing() -> None:
    server = make_server()
    server.learn(with_labels([[0, 0, 1]], (0,)), AT, RATE)
    assert not server.loss.label_counts.any()


# Copies (SplitFed v1).


def test_copies_correct_priors_and_tally_as_the_one_segment_does() -> None:
    uplink = with_labels([[0, 0, 1], [2]], (1, 3))
    one, copies = make_server(label_prior="own"), make_server(label_prior="own", copies=True)
    torch.testing.assert_close(copies.learn_copies(uplink, AT, RATE), one.learn(uplink, AT, RATE))
    assert torch.equal(one.loss.label_counts, copies.loss.label_counts)
    assert copies.read_metrics().mean_loss == pytest.approx(one.read_metrics().mean_loss)


def test_the_rate_of_copies_is_reported() -> None:
    server = make_server(copies=True)
    server.learn_copies(make_uplink((2, 2)), AT, RATE)
    assert server.last_rate == 0.5


def test_a_copy_clips_its_own_gradient() -> None:
    uplink = make_uplink((2, 2))
    plain, clipped = make_server(copies=True), make_server(copies=True, clip_norm=0.01)
    plain.learn_copies(uplink, AT, RATE)
    clipped.learn_copies(uplink, AT, RATE)
    for row in range(2):
        step = W - plain.copies.weights((row,))["weight"][0].double().numpy()
        wanted = W - step * 0.01 / (np.linalg.norm(step) / 0.5)
        np.testing.assert_allclose(clipped.copies.weights((row,))["weight"][0], wanted, atol=1e-6)


# Tallies and checkpoints.


def test_a_tally_adds_up_loss_and_hits_until_restarted() -> None:
    server = make_server()
    uplink = make_uplink((3, 2))
    losses, hits = 0.0, 0
    for i, size in enumerate((3, 2)):
        z = uplink.smashed[i, :size].numpy() @ W.T
        y = uplink.labels[i, :size].numpy()
        losses += (np.log(np.exp(z).sum(1)) - z[np.arange(size), y]).sum()
        hits += (z.argmax(1) == y).sum()
    for _ in range(2):
        server.learn(uplink, AT, 0.0)
    tally = server.read_metrics()
    assert (tally.samples, tally.correct) == (10, 2 * hits)
    assert tally.loss == pytest.approx(2 * losses, rel=1e-5)
    assert tally.mean_loss == pytest.approx(losses / 5, rel=1e-5)
    assert tally.accuracy == hits / 5
    server.restart_metrics()
    assert (server.read_metrics().samples, server.read_metrics().loss) == (0, 0.0)
    assert server.read_metrics().mean_loss == server.read_metrics().accuracy == 0.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_first_step_whose_loss_is_no_number_is_remembered(value: float) -> None:
    server = make_server()
    good, bad = make_uplink((2, 2)), make_uplink((2, 2))
    bad.smashed[1, 0, 0] = value
    for step, uplink in enumerate((good, good, bad, good, bad)):
        server.learn(uplink, dataclasses.replace(AT, number=step), RATE)
        assert server.bad_step() == (None if step < 2 else 2)
    server.restart_metrics()
    assert server.bad_step() is None


@pytest.mark.parametrize("optimizer", ["sgd", "sgd:momentum=0.9", "adam", "adagrad", "nadam"])
@pytest.mark.parametrize("copies", [False, True])
def test_restored_it_goes_on_as_if_nothing_had_happened(optimizer: str, copies: bool) -> None:
    def segment() -> nn.Module:
        torch.default_generator.manual_seed(1)
        return nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3))

    def teach(server: SplitServer, seed: int) -> Tensor:
        uplink = make_uplink((3, 2), (0, 2), seed)
        return server.learn_copies(uplink, AT, RATE) if copies else server.learn(uplink, AT, RATE)

    options = {"label_prior": "own", "copies": copies}
    first, second = (make_server(optimizer, segment(), **options) for _ in range(2))
    for seed in range(3):
        teach(first, seed)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    for seed in (3, 4):
        assert torch.equal(teach(first, seed), teach(second, seed))
    assert first.state().keys() == second.state().keys()
    assert all(torch.equal(first.state()[name], second.state()[name]) for name in first.state())


def test_the_server_trains_with_the_loss_it_was_given() -> None:
    uplink = make_uplink((3,))
    smashed = uplink.smashed.flatten(0, 1).requires_grad_()
    losses = binary_cross_entropy(smashed @ torch.tensor(W, dtype=torch.float32).T, uplink.labels[0])
    (wanted,) = torch.autograd.grad(losses.mean(), smashed)
    found = make_server(task=Classification(loss="binary_cross_entropy")).learn(uplink, AT, RATE)
    torch.testing.assert_close(found[0], wanted)


def test_labels_are_counted_on_beyond_what_floating_point_can_and_counts_of_before_are_read() -> None:
    """float32 has no number between 2^24 and 2^24 + 2, and adding one to it changes nothing."""
    many = 2**24
    server = make_server(clients=1, label_prior="own")
    before = {**server.state(), "label_counts": torch.tensor([[many, 0.0, 0.0]])}
    server.restore(before)
    uplink = Uplink(torch.zeros(1, 3, 2), torch.zeros(1, 3, dtype=torch.int64), (0,), (3,))
    for _ in range(2):
        server.learn(uplink, AT, RATE)
    assert server.loss.label_counts.tolist() == [[many + 6, 0, 0]]
    restored = make_server(clients=1, label_prior="own")
    restored.restore(server.state())
    assert restored.loss.label_counts.tolist() == [[many + 6, 0, 0]]
