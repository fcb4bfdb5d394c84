"""What methods build their own steps of: gradients without a step, a step on any batch, and the pair of priors."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sglr.core.method import Method
from sglr.core.optim import OptimizerSpec
from sglr.core.types import ServerBatch, StepContext, Uplink
from sglr.methods.epsl import EPSL
from sglr.methods.mix2sfl import Mix2SFL
from sglr.parties.defences import parse
from sglr.parties.server import SplitServer
from sglr.parties.server_spec import ServerSpec
from sglr.tasks.classification import Classification

W = np.array([[1.0, -0.5], [0.25, 0.75], [-1.0, 0.5]])
AT = StepContext(0, 1, 0, 1, np.random.default_rng(0))
RATE = 0.5


def make_server(
    optimizer: str = "sgd", segment: nn.Module | None = None, label_prior: str = "ignore", **more: Any
) -> SplitServer:
    if segment is None:
        segment = nn.Linear(2, 3, bias=False)
        segment.weight = nn.Parameter(torch.tensor(W, dtype=torch.float32))
    own: dict[str, Any] = {"task": Classification(), "classes": 3, "clients": 4, "label_prior": label_prior, **more}
    return SplitServer(ServerSpec(segment, OptimizerSpec.parse(optimizer), **own), torch.device("cpu"))


def make_uplink(rows: list[list[int]], clients: tuple[int, ...] = (0, 2)) -> Uplink:
    rng, sizes = np.random.default_rng(1), tuple(map(len, rows))
    smashed, labels = torch.zeros(len(sizes), max(sizes), 2), torch.zeros(len(sizes), max(sizes), dtype=torch.int64)
    for i, row in enumerate(rows):
        smashed[i, : len(row)] = torch.from_numpy(rng.normal(size=(len(row), 2)))
        labels[i, : len(row)] = torch.tensor(row)
    return Uplink(smashed, labels, clients, sizes)


def by_logits(smashed: Tensor, labels: Tensor, prior: Any = 0.0) -> np.ndarray:
    z = smashed.double().numpy() @ W.T + prior
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return p - np.eye(3)[labels.numpy()]


@pytest.mark.parametrize("label_prior", ["ignore", "own", "pooled", "relative"])
def test_gradients_are_what_learn_returns_and_move_and_count_nothing(label_prior: str) -> None:
    uplink = make_uplink([[0, 1, 1], [2]])
    norm = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    server = make_server("adam", norm, label_prior)
    server.learn(uplink, AT, RATE)
    priors = server.priors(uplink)
    before = {name: tensor.clone() for name, tensor in server.state().items()}
    found = server.gradients(uplink, AT, None if priors is None else priors.told)
    assert [name for name, one in server.state().items() if not torch.equal(before[name], one)] == ["work"]
    if label_prior == "ignore":
        torch.testing.assert_close(found, server.learn(uplink, AT, RATE))


def test_gradients_are_of_each_clients_own_mean_with_the_prior_that_is_given() -> None:
    uplink = make_uplink([[0, 1, 1], [2]])
    prior = torch.log(torch.tensor([[0.5, 0.25, 0.25]] * 3 + [[0.1, 0.1, 0.8]]))
    found = make_server().gradients(uplink, AT, prior)
    for row, (rows, size) in enumerate([(slice(0, 3), 3), (slice(3, 4), 1)]):
        wanted = by_logits(uplink.smashed[row, :size], uplink.labels[row, :size], prior[rows].numpy()) @ W / size
        np.testing.assert_allclose(found[row, :size], wanted, atol=1e-6)
    assert not found[1, 1:].any()


def test_a_step_is_on_the_weighted_mean_of_a_batch() -> None:
    smashed, labels = torch.tensor([[1.0, 0.0], [0.5, -1.0], [2.0, 1.0]]), torch.tensor([0, 2, 1])
    weights = torch.tensor([1.0, 2.0, 5.0])
    server = make_server()
    server.step(ServerBatch(smashed, labels, weights), AT, RATE)
    share = weights.double().numpy() / 8
    wanted = W - RATE * (by_logits(smashed, labels) * share[:, None]).T @ smashed.double().numpy()
    np.testing.assert_allclose(server.segment.weight.detach(), wanted, atol=1e-6)
    assert server.last_rate == RATE
    assert server.read_metrics().samples == 3


def test_soft_labels_are_two_targets_in_shares() -> None:
    smashed, labels, others = torch.tensor([[1.0, 0.0], [0.5, -1.0]]), torch.tensor([0, 2]), torch.tensor([1, 2])
    share = torch.tensor([0.3, 0.9])
    server = make_server()
    server.step(ServerBatch(smashed, labels, others=others, share=share), AT, RATE)
    part = share.double().numpy()[:, None]
    mixed = part * by_logits(smashed, labels) + (1 - part) * by_logits(smashed, others)
    wanted = W - RATE * mixed.T @ smashed.double().numpy() / 2
    np.testing.assert_allclose(server.segment.weight.detach(), wanted, atol=1e-6)


def test_a_batch_of_all_samples_is_a_joint_step() -> None:
    uplink = make_uplink([[0, 1, 1], [2]])
    one, other = make_server("adam"), make_server("adam")
    one.learn(uplink, AT, RATE)
    other.step(ServerBatch(uplink.flatten(uplink.smashed), uplink.flatten(uplink.labels)), AT, RATE)
    torch.testing.assert_close(one.segment.weight, other.segment.weight)
    assert one.read_metrics().mean_loss == pytest.approx(other.read_metrics().mean_loss)


def test_the_pooled_prior_is_in_the_step_and_the_own_one_in_what_clients_are_told() -> None:
    uplink = make_uplink([[0, 1, 1], [2]], clients=(0, 2))
    server = make_server(label_prior="pooled")
    found = server.learn(uplink, AT, RATE)
    smashed, labels = uplink.flatten(uplink.smashed), uplink.flatten(uplink.labels)
    pooled = np.log(np.array([2, 3, 2]) / 7)  # (1, 2, 1) of both clients, and 1 each
    wanted = W - RATE * by_logits(smashed, labels, pooled).T @ smashed.double().numpy() / 4
    np.testing.assert_allclose(server.segment.weight.detach(), wanted, atol=1e-6)
    own = [np.log(np.array([2, 3, 1]) / 6), np.log(np.array([1, 1, 2]) / 4)]
    for row, size in ((0, 3), (1, 1)):
        told = by_logits(uplink.smashed[row, :size], uplink.labels[row, :size], own[row]) @ W / size
        np.testing.assert_allclose(found[row, :size], told, atol=1e-6)
    z = smashed.double().numpy() @ W.T + pooled
    losses = np.log(np.exp(z).sum(1)) - z[np.arange(4), labels.numpy()]
    assert server.read_metrics().mean_loss == pytest.approx(losses.mean(), rel=1e-5)


def test_the_pooled_prior_knows_the_clients_of_the_step_alone() -> None:
    server = make_server(label_prior="pooled")
    server.learn(make_uplink([[0] * 5, [0] * 5], clients=(1, 3)), AT, 0.0)
    priors = server.priors(make_uplink([[1], [2]], clients=(0, 2)))
    assert priors is not None
    torch.testing.assert_close(priors.step.exp(), torch.tensor([[1, 2, 2]] * 2) / 5)


def test_a_step_with_gradients_by_the_batch_is_a_step() -> None:
    smashed, labels = torch.tensor([[1.0, 0.0], [0.5, -1.0], [2.0, 1.0]]), torch.tensor([0, 2, 1])
    batch = ServerBatch(smashed, labels, torch.tensor([1.0, 2.0, 5.0]))
    one, other = make_server("adam"), make_server("adam")
    prior = torch.log(torch.tensor([[0.5, 0.25, 0.25]] * 3))
    one.step(batch, AT, RATE)
    found = other.learn_batch(batch, AT, RATE, prior)
    assert torch.equal(one.segment.weight, other.segment.weight)
    share = np.array([1.0, 2.0, 5.0])[:, None] / 8
    np.testing.assert_allclose(found, share * by_logits(smashed, labels, prior.numpy()) @ W, atol=1e-6)


@pytest.mark.parametrize("label_prior", ["ignore", "own", "pooled", "relative"])
def test_gradients_by_outputs_that_go_back_unchanged_are_a_joint_step(label_prior: str) -> None:
    uplink = make_uplink([[0, 1, 1], [2]])
    norm = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    one, other = (make_server("adam", deepcopy(norm), label_prior) for _ in range(2))
    told = one.learn(uplink, AT, RATE)
    by_outputs = other.by_outputs(uplink, AT)
    found = other.back_propagate(uplink.flatten(uplink.smashed), by_outputs, AT, RATE, 4)
    torch.testing.assert_close(told, uplink.unflatten(found * 4 / torch.tensor([[3.0], [3.0], [3.0], [1.0]])))
    for name, tensor in one.state().items():
        if name != "work":  # one pass more
            torch.testing.assert_close(tensor, other.state()[name], msg=name)


@pytest.mark.parametrize("method", [EPSL(0.5), Mix2SFL(phi=0.0)], ids=["epsl", "mix2sfl"])
def test_what_methods_make_of_gradients_goes_through_the_defences_of_labels(method: Method) -> None:
    uplink, rng = make_uplink([[0, 1, 1, 2], [2, 0, 1]]), np.random.default_rng
    plain = method.exchange(make_server(), uplink, replace(AT, rng=rng(0)))
    server = make_server(defences=parse("max-norm"))
    found = method.exchange(server, uplink, replace(AT, rng=rng(0)))
    wanted = server.defended(plain.gradients, uplink, AT)
    assert not torch.allclose(found.gradients, plain.gradients)
    first = 2 if found.averaged else 0
    torch.testing.assert_close(found.gradients[:, first:], wanted[:, first:])
    torch.testing.assert_close(found.gradients[:, :first], wanted[:, :first].mean(0).expand(2, -1, -1))


def test_relative_priors_leave_the_step_plain_and_are_own_over_all_in_what_clients_are_told() -> None:
    uplink = make_uplink([[0, 1, 1], [2]], clients=(0, 2))
    server, plain = make_server(label_prior="relative"), make_server()
    found = server.learn(uplink, AT, RATE)
    plain.learn(uplink, AT, RATE)
    assert torch.equal(server.segment.weight, plain.segment.weight)
    assert server.read_metrics() == plain.read_metrics()
    everyone = np.array([2, 3, 2]) / 7
    own = [np.array([2, 3, 1]) / 6, np.array([1, 1, 2]) / 4]
    for row, size in ((0, 3), (1, 1)):
        shift = np.log(own[row] / everyone)
        told = by_logits(uplink.smashed[row, :size], uplink.labels[row, :size], shift) @ W / size
        np.testing.assert_allclose(found[row, :size], told, atol=1e-6)


def test_relative_priors_change_nothing_for_clients_that_are_alike() -> None:
    uplink = make_uplink([[0, 1, 2], [2, 1, 0]], clients=(0, 1))
    told, plain = make_server(label_prior="relative").learn(uplink, AT, RATE), make_server().learn(uplink, AT, RATE)
    torch.testing.assert_close(told, plain, atol=1e-6, rtol=1e-5)
