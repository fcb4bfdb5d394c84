"""GAS: uploads arrive one by one, and the server steps on a buffer that is filled up with samples of rare classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import assert_close
from torch import nn

from sglr.core.class_statistics import MEANS, RIDGE, SPREADS, WEIGHTS
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import StepDone
from sglr.core.optim import OptimizerSpec
from sglr.core.trainer import Hooks
from sglr.core.types import Extent, StepContext, Uplink
from sglr.methods.gas import BUFFER, GAS, UPLOADS
from sglr.parties.server import SplitServer
from sglr.parties.server_spec import ServerSpec
from sglr.tasks.classification import Classification

W = np.array([[1.0, -0.5], [0.25, 0.75], [-1.0, 0.5]])
RATE = 0.5


def make_server(label_prior: str = "ignore") -> SplitServer:
    segment = nn.Linear(2, 3, bias=False)
    segment.weight = nn.Parameter(torch.tensor(W, dtype=torch.float32))
    own: dict[str, Any] = {"task": Classification(), "classes": 3, "clients": 4, "label_prior": label_prior}
    return SplitServer(ServerSpec(segment, OptimizerSpec.parse("sgd"), **own), torch.device("cpu"))


def make_uplink(rows: list[list[int]], clients: tuple[int, ...], seed: int = 1) -> Uplink:
    rng, sizes = np.random.default_rng(seed), tuple(map(len, rows))
    smashed, labels = torch.zeros(len(sizes), max(sizes), 2), torch.zeros(len(sizes), max(sizes), dtype=torch.int64)
    for i, row in enumerate(rows):
        smashed[i, : len(row)] = torch.from_numpy(rng.normal(size=(len(row), 2)))
        labels[i, : len(row)] = torch.tensor(row)
    return Uplink(smashed, labels, clients, sizes)


def make_context(step: int = 0, steps: int = 9, **memory: Any) -> StepContext:
    rng = np.random.default_rng(step)
    return StepContext(0, 1, step, steps, rng, step, RATE, data_sizes=(9, 9, 9, 9), at_work=4, **memory)


def by_logits(smashed: np.ndarray, labels: np.ndarray, w: np.ndarray, prior: Any = 0.0) -> np.ndarray:
    z = smashed @ w.T + prior
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return p - np.eye(3)[labels]


def rows_of(uplink: Uplink, row: int) -> tuple[np.ndarray, np.ndarray]:
    size = uplink.sizes[row]
    return uplink.smashed[row, :size].double().numpy(), uplink.labels[row, :size].numpy()


def after_a_step(w: np.ndarray, smashed: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return w - RATE * by_logits(smashed, labels, w).T @ smashed / len(labels)


def test_who_arrives_later_is_told_the_gradient_of_a_server_that_has_learnt_since() -> None:
    """Three uploads of two classes, a buffer of two: the third client meets new weights; nothing is generated yet."""
    uplink, context, server = make_uplink([[0, 1, 1], [1], [0, 1]], (0, 2, 3)), make_context(), make_server()
    found = GAS(buffer=2).exchange(server, uplink, context).gradients
    first, second, third = np.random.default_rng(0).permutation(3)
    both = [np.concatenate(values) for values in zip(rows_of(uplink, first), rows_of(uplink, second), strict=True)]
    after = after_a_step(W, *both)
    for row, w in ((first, W), (second, W), (third, after)):
        smashed, labels = rows_of(uplink, row)
        wanted = by_logits(smashed, labels, w) @ w / len(labels)
        np.testing.assert_allclose(found[row, : len(labels)], wanted, atol=1e-6)
        assert not found[row, len(labels) :].any()
    np.testing.assert_allclose(server.segment.weight.detach(), after, atol=1e-6)
    assert context.memory["buffer.smashed"].shape == (uplink.sizes[third], 2)
    assert context.memory[UPLOADS].tolist() == [1, 0, 1, 1]


def test_at_the_end_of_an_epoch_the_server_learns_from_what_is_in_the_buffer() -> None:
    uplink, context, server = make_uplink([[0, 1, 1]], (1,)), make_context(8), make_server()
    GAS(buffer=2).exchange(server, uplink, context)
    np.testing.assert_allclose(server.segment.weight.detach(), after_a_step(W, *rows_of(uplink, 0)), atol=1e-6)
    assert context.memory.keys().isdisjoint(BUFFER)


def test_classes_that_lack_samples_are_filled_up_from_their_gaussians() -> None:
    """Two steps by hand: the first meets all classes; in the second, upload weights are 2, and two classes are rare."""
    context, server = make_context(), make_server()
    one, two = make_uplink([[0, 0, 1, 1, 2, 2, 0]], (1,)), make_uplink([[0, 0, 0, 2]], (1,), seed=2)
    GAS(buffer=1).exchange(server, one, context)
    # The longest batch has seven samples; 3, 2 and 2 are there.
    smashed, labels = rows_of(one, 0)
    rng = np.random.default_rng(0)
    rng.permutation(1)
    gaussians = {c: (smashed[labels == c].mean(0), np.cov(smashed[labels == c].T, ddof=0)) for c in range(3)}
    w = after_a_step(W, *filled(smashed, labels, gaussians, [4, 5, 5], rng))
    np.testing.assert_allclose(server.segment.weight.detach(), w, atol=1e-5)

    later = make_context(1, memory=context.memory)
    GAS(buffer=1).exchange(server, two, later)
    more, own = rows_of(two, 0)
    everything, classes = np.concatenate([smashed, more]), np.concatenate([labels, own])
    weights = np.repeat([1, 2], [7, 4])
    for c in range(3):
        mine = classes == c
        mean = np.average(everything[mine], 0, weights[mine])
        gaussians[c] = mean, np.cov(everything[mine].T, ddof=0, aweights=weights[mine])
        np.testing.assert_allclose(later.memory[MEANS][c], gaussians[c][0], atol=1e-6)
        np.testing.assert_allclose(later.memory[SPREADS][c], gaussians[c][1], atol=1e-6)
        assert float(later.memory[WEIGHTS][c]) == weights[mine].sum()
    rng = np.random.default_rng(1)
    rng.permutation(1)
    w = after_a_step(w, *filled(more, own, gaussians, [1, 4, 3], rng))
    np.testing.assert_allclose(server.segment.weight.detach(), w, atol=1e-5)


def filled(
    smashed: np.ndarray,
    labels: np.ndarray,
    gaussians: dict[int, tuple[np.ndarray, np.ndarray]],
    missing: list[int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    noise = np.split(rng.standard_normal((sum(missing), 2)), np.cumsum(missing)[:-1])
    for c, (mean, spread) in gaussians.items():
        drawn = mean + noise[c] @ np.linalg.cholesky(spread + RIDGE * np.eye(2)).T
        smashed, labels = np.concatenate([smashed, drawn]), np.append(labels, np.full(missing[c], c))
    return smashed, labels


def test_clients_are_told_with_their_own_priors_and_the_servers_step_has_none() -> None:
    uplink, context, server = make_uplink([[0, 1, 1], [2]], (0, 2)), make_context(), make_server("own")
    found = GAS(buffer=3).exchange(server, uplink, context).gradients
    for row, prior in enumerate((np.log([2 / 6, 3 / 6, 1 / 6]), np.log([1 / 4, 1 / 4, 2 / 4]))):
        smashed, labels = rows_of(uplink, row)
        wanted = by_logits(smashed, labels, W, prior) @ W / len(labels)
        np.testing.assert_allclose(found[row, : len(labels)], wanted, atol=1e-6)
    ends = make_context(8, memory=context.memory)
    last = make_uplink([[1]], (3,), seed=3)
    GAS(buffer=9).exchange(server, last, ends)
    held = [context.memory.get(name) for name in BUFFER]
    assert held == [None] * 4
    first, second = np.random.default_rng(0).permutation(2)
    parts = [rows_of(uplink, first), rows_of(uplink, second), rows_of(last, 0)]
    smashed, labels = (np.concatenate(values) for values in zip(*parts, strict=True))
    rng = np.random.default_rng(8)
    rng.permutation(1)
    gaussians = {}
    for c in range(3):
        mine = smashed[labels == c]
        gaussians[c] = mine.mean(0), np.cov(mine.T, ddof=0)
    w = after_a_step(W, *filled(smashed, labels, gaussians, [2, 0, 2], rng))
    np.testing.assert_allclose(server.segment.weight.detach(), w, atol=1e-5)


@pytest.mark.parametrize(("at_work", "uploads"), [(1, 1), (2, 1), (5, 2), (10, 5)])
def test_half_of_those_at_work_fill_the_buffer(at_work: int, uploads: int) -> None:
    assert GAS().uploads(at_work) == uploads
    assert GAS(buffer=3).uploads(at_work) == 3


def test_a_negative_buffer_is_refused() -> None:
    with pytest.raises(UsageError, match="buffer"):
        GAS(buffer=-1)


@pytest.mark.parametrize("buffer", [0, 7])
def test_it_keeps_no_more_than_it_says(case, buffer: int) -> None:
    method, kept = GAS(buffer=buffer), []

    def note(event: object) -> None:
        if isinstance(event, StepDone):
            kept.append(sum(one.numel() * one.itemsize for one in trainer.memory.values()))

    trainer = case(method, sizes=(12, 5, 7, 9), hooks=Hooks(observe=note)).build()
    trainer.run()
    most = method.memory_bytes(Extent(4, 4, 3, (3,), 3))
    assert 0 < max(kept) <= most
    assert replace(method, buffer=100).memory_bytes(Extent(4, 4, 3, (3,), 3)) > most


def test_batches_of_pictures_are_filled_up_too(case) -> None:
    """Smashed data of three dimensions: the server's step flattens them itself."""
    rng = np.random.default_rng(0)
    smashed = torch.from_numpy(rng.normal(size=(1, 4, 2, 1, 1))).float()
    segment = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    spec = ServerSpec(segment, OptimizerSpec("sgd"), Classification(), classes=2, clients=4, label_prior="ignore")
    server = SplitServer(spec, torch.device("cpu"))
    GAS(buffer=1).exchange(server, Uplink(smashed, torch.tensor([[0, 1, 1, 1]]), (0,), (4,)), make_context())
    assert server.read_metrics().samples == 8


@pytest.mark.parametrize("batching", ["clock", "clock:100", "local"])
def test_on_the_clock_it_resumes_bit_for_bit(case, state_of, batching: str) -> None:
    options = {"sizes": (12, 5, 7, 9), "batching": batching, "participation": 0.8, "label_prior": "own", "seed": 4}
    training = case(GAS(), optimizer="adam", norm=True, least_batch=2, **options)
    whole = training.run()
    for stop in range(1, whole.progress.steps, 3):
        first = training.build()
        first.hooks = Hooks(stop=lambda first=first, stop=stop: first.progress.steps == stop)
        with pytest.raises(Interrupted):
            first.run()
        resumed = training.build()
        resumed.restore(state_of(first), replace(first.progress))
        resumed.run()
        found, wanted = state_of(resumed), state_of(whole)
        assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


@pytest.mark.usefixtures("double")
def test_on_the_clock_stacked_equals_looped(case, state_of) -> None:
    options = {"sizes": (12, 5, 7, 9), "batching": "clock", "participation": 0.8, "optimizer": "sgd:momentum=0.9"}
    one, other = (state_of(case(GAS(), stacking=form, **options).run()) for form in ("stacked", "looped"))
    assert_close(one, other, atol=1e-10, rtol=1e-10)


def test_on_the_clock_the_server_steps_whenever_as_many_have_arrived_as_the_buffer_takes(case) -> None:
    """Every step of the engine brings the next uploads, and none of them straddles a step of the server."""
    held, over = [], []

    def note(event: object) -> None:
        if isinstance(event, StepDone):
            held.append(len(trainer.memory.get(BUFFER[-1], ())))
            over.append(sum(trainer.memory[UPLOADS].tolist()))

    trainer = case(GAS(), sizes=(12,) * 5, batching="clock", epochs=1, seed=2, hooks=Hooks(observe=note)).build()
    trainer.run()
    assert over[-1] == 20
    assert held[:-1] == [sent % 2 for sent in over[:-1]]
    assert held[-1] == 0
