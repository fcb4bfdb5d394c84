"""Batching rules with every method that splits the model: what stays true, and what an epoch uses and sends."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import assert_close, covering
from tests.some_methods import UNSPLIT, make_method
from torch import nn
from torch.nn import functional as F

import sglr
from sglr.core.errors import Interrupted
from sglr.core.events import Event, StepDone, Traffic
from sglr.core.random import generator
from sglr.core.registry import METHODS
from sglr.core.trainer import Hooks
from sglr.cost.closed_forms import Sizes, point_to_point
from sglr.cost.training_flops import samples_in, trained_samples
from sglr.data.batch_rule import BatchRule
from sglr.data.batches import Batching

SPLIT = [name for name in METHODS.names() if not (METHODS.load(name).whole_model or METHODS.load(name).pooled)]
RULES = ["proportional", "proportional:9", "global", "global:7"]
SIZES = (11, 7, 3, 6)

every_method_and_rule = covering(name=SPLIT, rule=RULES)


@covering(name=[name for name in SPLIT if name in UNSPLIT], rule=RULES)
@pytest.mark.usefixtures("double")
def test_one_client_trains_like_the_unsplit_model(case, name: str, rule: str) -> None:
    """Law 1: B is a batch of the one client's, whichever rule shares it out."""
    training = case(make_method(name), sizes=(11,), optimizer="sgd:momentum=0.9", seed=3, batching=rule)
    together = Batching(training.batch, rule=BatchRule.parse(rule)).together(1)
    lower, upper = training.segments()
    model = nn.Sequential(lower(0), deepcopy(upper))
    samples, plain = training.clients().train, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(training.epochs):
        order = torch.from_numpy(generator(3, "order", 0, epoch).permutation(11))
        for batch in order.split(together):
            plain.zero_grad()
            F.cross_entropy(model(samples.inputs[batch]), samples.targets[batch]).backward()
            plain.step()
    found = training.run()
    server = {f"1.{key}": tensor for key, tensor in found.server.segment.state_dict().items()}
    own = {f"0.{key}": tensor[0] for key, tensor in found.engine.collect((0,)).items()}
    assert_close({**own, **server}, dict(model.state_dict()), atol=1e-10)


@every_method_and_rule
@pytest.mark.usefixtures("double")
def test_stacked_equals_looped(case, state_of, name: str, rule: str) -> None:
    options = {"sizes": SIZES, "batching": rule, "optimizer": "sgd:momentum=0.9", "participation": 0.75}
    stacked, looped = (
        state_of(case(make_method(name), stacking=form, **options).run()) for form in ("stacked", "looped")
    )
    assert_close(stacked, looped, atol=1e-10, rtol=1e-10)


@pytest.mark.usefixtures("double")
def test_stacked_equals_looped_with_batch_statistics_and_tails(case, state_of) -> None:
    options = {"batching": "proportional:10", "norm": True, "least_batch": 2, "sizes": (9, 5, 1, 8)}
    for tail in (False, True):
        stacked, looped = (
            state_of(case(sglr.SGLR(), stacking=form, tail=tail, **options).run()) for form in ("stacked", "looped")
        )
        assert_close(stacked, looped, atol=1e-10, rtol=1e-10)
    tails = [
        state_of(case(sglr.SGLR(), tail=True, batching="global", stacking=form, sizes=SIZES).run()) for form in FORM
    ]
    assert_close(*tails, atol=1e-10, rtol=1e-10)


FORM = ("stacked", "looped")


@covering(name=["psl", "sglr", "sfl", "ssl"], rule=RULES)
def test_stopped_anywhere_and_resumed_a_run_ends_with_the_same_weights(case, state_of, name: str, rule: str) -> None:
    """Law 5."""

    def training():
        return case(make_method(name), sizes=SIZES, batching=rule, optimizer="adam").build()

    whole = training()
    whole.run()
    wanted, saved = state_of(whole), None
    for stop in (*range(1, whole.progress.steps, 3), None):
        trainer, kept = training(), []
        trainer.hooks = Hooks(
            save=lambda best, t=trainer, k=kept: k.append((state_of(t), replace(t.progress))),
            stop=lambda t=trainer, at=stop: at is not None and t.progress.steps >= at,
        )
        if saved is not None:
            trainer.restore(saved[0], replace(saved[1]))
        try:
            trainer.run()
        except Interrupted:
            saved = kept[-1]
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in state_of(trainer).items())


@settings(max_examples=10)
@given(sizes=st.lists(st.integers(1, 14), min_size=1, max_size=5), rule=st.sampled_from(RULES), seed=st.integers(0, 99))
def test_counted_bytes_and_samples_are_those_of_the_closed_form(case, sizes, rule: str, seed: int) -> None:
    """2 |D| S(L) up and down, D being what an epoch uses; and the weights of who takes part, where they are merged."""
    for name in ("psl", "sfl"):
        events: list[Event] = []
        training = case(make_method(name), sizes=sizes, batching=rule, seed=seed, hooks=Hooks(observe=events.append))
        trainer = training.run()
        used = sum(int(samples_in(trainer, epoch).sum()) for epoch in range(training.epochs))
        assert used == trainer.progress.samples == trained_samples(trainer).sum()
        traffic = [event for event in events if isinstance(event, Traffic) and event.kind != "labels"]
        client = sum(t[0].numel() * t.element_size() for t in trainer.engine.collect((0,)).values())
        form = point_to_point(name, Sizes(len(sizes), used, 12, 1000, client)).total
        weights = 2 * len(sizes) * client * (training.epochs - 1) * (name == "sfl")  # one epoch is in the form
        assert sum(int(event.sizes.sum()) for event in traffic) == form + weights


def test_a_broadcast_average_is_as_long_as_the_longest_active_batch(case) -> None:
    events: list[Event] = []
    case(sglr.SGLR(phi=1.0), sizes=SIZES, batching="global:7", epochs=1, hooks=Hooks(observe=events.append)).run()
    schedule = Batching(3, rule=BatchRule("global", 7)).schedule(np.array(SIZES), 0, 0)
    counts = [schedule.at(step)[1] for step in range(schedule.steps)]
    averages = [event for event in events if isinstance(event, Traffic) and event.kind == "average"]
    several = [own for own in counts if np.count_nonzero(own) > 1]
    assert [event.broadcast for event in averages] == [int(own.max()) * 12 for own in several]
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.samples for event in steps] == [own.sum() for own in counts]


@pytest.mark.parametrize("short_clients", ["wait", "cycle"])
def test_samples_of_clients_that_begin_again_are_counted_as_often(case, short_clients: str) -> None:
    trainer = case(sglr.PSL(), sizes=(9, 4, 1), short_clients=short_clients).run()
    assert trained_samples(trainer).sum() == trainer.progress.samples


def test_split_lr_counts_the_clients_of_a_step(case, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[tuple[int, float]] = []
    training = case(sglr.SLR(alpha=1.0), sizes=(12, 2, 1), batching="proportional:5", epochs=1).build()
    learn = training.server.learn

    def note(uplink, context, rate):
        rates.append((len(uplink.clients), rate))
        return learn(uplink, context, rate)

    monkeypatch.setattr(training.server, "learn", note)
    training.run()  # b = 4, 1, 1: the largest would give 1.5, 1.25 and 1
    assert rates == [(3, pytest.approx(0.3)), (2, pytest.approx(0.2)), (1, pytest.approx(0.1))]
