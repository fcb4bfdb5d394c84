"""CSE-FSL: clients train by their own heads, every h-th batch is uploaded, and nothing goes back."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from sglr.assembly.build import build
from sglr.core.errors import UsageError
from sglr.core.events import EpochDone, Event, Hooks, StepDone
from sglr.core.random import generator
from sglr.core.weights import state_of
from sglr.methods.cse_fsl import CSEFSL
from sglr.report.progress_lines import epoch_line
from sglr.runs.config import Experiment

W_A = np.array([[0.5, -1.0], [0.25, 0.75], [-0.5, 1.5]])
"""A head: two numbers at the cut to three classes."""


def head() -> nn.Linear:
    layer = nn.Linear(2, 3, bias=False)
    layer.weight = nn.Parameter(torch.tensor(W_A, dtype=torch.float32))
    return layer


def trained_alone(p, client: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Work out a step of a client by itself: its segment and its head."""
    g = p.gradients(client, p.w_c[0], W_A)
    return p.w_c[0] - rate * g.client.mean(0), W_A - rate * g.server.mean(0)


def test_a_step_by_hand(problem, close) -> None:
    """Clients step on their heads' loss; the server on one upload after another, at the weights that it then has."""
    p = problem((2, 3))
    trainer = p.build(CSEFSL(h=1), rate=0.5, head=head()).run()
    (w_0, a_0), (w_1, a_1) = (trained_alone(p, client, 0.5) for client in range(2))
    close(trainer.shared["lower.weight"], 2 / 5 * w_0 + 3 / 5 * w_1)
    close(trainer.shared["head.weight"], 2 / 5 * a_0 + 3 / 5 * a_1)
    outcomes = []
    for order in permutations(range(2)):
        w_s = p.w_s
        for client in order:
            w_s = w_s - 0.5 * p.gradients(client, p.w_c[0], w_s).server.mean(0)
        outcomes.append(w_s)
    weight = trainer.server.segment.weight.detach().numpy()
    assert [np.allclose(weight, outcome, atol=1e-6) for outcome in outcomes].count(True) == 1


def test_between_uploads_clients_step_alone(problem, close) -> None:
    """With h = 2 the server waits for the second batch, of a client that has learned from the first."""
    p = problem((4,), same=True)
    seen: list[np.ndarray] = []

    def look(event: Event) -> None:
        if isinstance(event, StepDone):
            seen.append(trainer.server.segment.weight.detach().numpy().copy())

    training = p.build(CSEFSL(h=2), rate=0.5, head=head(), batch=2, hooks=Hooks(observe=look))
    trainer = training.build()
    trainer.run()
    w_c, w_a = trained_alone(p, 0, 0.5)
    close(seen[0], p.w_s)
    close(seen[1], p.w_s - 0.5 * p.gradients(0, w_c).server.mean(0))
    second = p.gradients(0, w_c, w_a)
    close(trainer.shared["lower.weight"], w_c - 0.5 * second.client.mean(0))
    close(trainer.shared["head.weight"], w_a - 0.5 * second.server.mean(0))


def test_one_client_is_a_network_with_its_head(case) -> None:
    """Its segment and head train as one network by themselves, whatever the server does."""
    training = case(CSEFSL(h=2), sizes=(12,), optimizer="adam", rate=0.05, epochs=1, norm=True)
    lower, _ = training.segments()
    own = lower(0)
    network, samples = nn.Sequential(own.lower, own.head), training.clients().train
    plain = torch.optim.Adam(network.parameters(), lr=0.05)
    for batch in torch.from_numpy(generator(0, "order", 0, 0).permutation(12)).split(3):
        plain.zero_grad()
        nn.functional.cross_entropy(network(samples.inputs[batch]), samples.targets[batch]).backward()
        plain.step()
    found = training.run().engine.collect((0,))
    for name, tensor in state_of(own).items():
        torch.testing.assert_close(found[name][0], tensor, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("h", [0, -2])
def test_h_below_one_is_refused(h: int) -> None:
    with pytest.raises(UsageError, match=rf"h = {h}: is below 1"):
        CSEFSL(h=h)


def test_h_beyond_an_epoch_is_refused(case) -> None:
    with pytest.raises(
        UsageError, match="h = 5: an epoch has 2 steps, so that nothing would be uploaded; give at most 2"
    ):
        case(CSEFSL(), sizes=(6, 6)).run()


UNEQUAL = {"dataset": "digits", "clients": 10, "partition": "dirichlet", "participation": 0.1, "seed": 1}


@pytest.mark.parametrize("h", [6, 10])
def test_an_h_beyond_the_steps_of_any_cohort_that_will_be_drawn_is_refused_before_training(h: int) -> None:
    """One client of ten trains in an epoch, and some have few samples; the remedy fits all that are drawn."""
    settings = {"method": "cse-fsl", "epochs": 4, "validation": 0, "model": "mlp", **UNEQUAL}
    with pytest.raises(UsageError, match=rf"^h = {h}: an epoch has \d steps, so that nothing would be up") as refused:
        build(Experiment.from_flat({**settings, "h": h}))
    most = int(re.findall(r"give at most (\d)", str(refused.value))[0])
    trainer = build(Experiment.from_flat({**settings, "h": most})).trainer
    batching = trainer.plan.batches
    steps = []
    for epoch in range(4):
        who = trainer.participants(epoch)
        steps.append(batching.schedule(np.array([trainer.sizes[one] for one in who]), 1, epoch, who).steps)
    assert most == min(steps) < h


def test_an_epoch_without_an_upload_has_no_loss_and_no_accuracy(case, events) -> None:
    """Of sites it is not known before how many samples they have: one of two trains, and the second has two steps."""
    training = case(CSEFSL(h=3), sizes=(9, 6), participation=0.5, epochs=6)
    drawn = [training.build().participants(epoch) for epoch in range(6)]
    training = replace(training, sizes=(9, 6) if drawn[0] == (0,) else (6, 9), hooks=Hooks(observe=events.append))
    training.run()
    ended = [event for event in events if isinstance(event, EpochDone)]
    for who, event in zip(drawn, ended, strict=True):
        assert ("loss" in event.record) == ("train_accuracy" in event.record) == (who == drawn[0])
        assert f"epoch {event.epoch + 1}/6" in epoch_line(event)
    assert {*drawn} == {(0,), (1,)}
