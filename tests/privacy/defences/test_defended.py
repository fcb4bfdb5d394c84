"""The laws hold for defended clients too, and what each defence costs is bounded on digits."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sglr
from sglr.assembly.build import build
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import Hooks
from sglr.core.random import generator
from sglr.core.registry import METHODS
from sglr.privacy.defences.nopeek import NoPeek
from sglr.runs.config import Experiment

ALL = "nopeek:weight=0.5+clip:norm=1+noise:sigma=0.1+marvell:power=1+max-norm"
"""All that is smooth: what is rounded could fall on either side of a step."""

CUT_METHODS = ["psl", "sglr", "sfl", "sflv1", "sflv2", "ssl"]


def close(one: dict[str, Tensor], other: dict[str, Tensor], atol: float = 1e-5) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-4, atol=atol, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize("name", CUT_METHODS)
def test_stacked_equals_looped(case, state_of, name: str) -> None:
    stacked, looped = (
        case(METHODS.load(name)(), sizes=(11, 7, 3, 3), batch=4, defence=ALL, validate=True, stacking=stacking).run()
        for stacking in ("stacked", "looped")
    )
    close(state_of(stacked), state_of(looped))
    assert stacked.progress.best_score == pytest.approx(looped.progress.best_score)


@pytest.mark.parametrize("name", CUT_METHODS)
def test_resumed_equals_uninterrupted_bit_for_bit(case, state_of, name: str) -> None:
    training = case(METHODS.load(name)(), sizes=(8, 3, 5), defence=ALL + "+quantize:bits=3", optimizer="adam", seed=4)
    whole = training.run()
    first, saved = training.build(), []

    def save(best: bool) -> None:
        del best
        saved[:] = [({key: tensor.clone() for key, tensor in first.state().items()}, replace(first.progress))]

    first.hooks = Hooks(save=save, stop=lambda: first.progress.steps >= 4)
    with pytest.raises(Interrupted):
        first.run()
    second = training.build()
    second.restore(*saved[0])
    second.run()
    one, other = state_of(whole), state_of(second)
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def test_secret_noise_goes_on_where_it_was_after_a_resume(case, state_of) -> None:
    training = case(METHODS.load("psl")(), sizes=(8, 3), defence="clip:norm=1+noise:sigma=0.1,secret=true", seed=4)
    first = training.build()
    saved = {key: tensor.clone() for key, tensor in first.state().items()}, replace(first.progress)
    again = training.build()
    again.restore(*saved)
    first.run()
    again.run()
    one, other, fresh = (state_of(trainer) for trainer in (first, again, training.run()))
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())
    weights = [key for key in one if "weight" in key]
    assert not any(torch.equal(one[key], fresh[key]) for key in weights)


def test_a_defence_that_is_off_changes_no_bit(case, state_of) -> None:
    plain = state_of(case(METHODS.load("sglr")()).run())
    for nothing in ("none", "noise:sigma=0", "nopeek:weight=0", "marvell:power=0"):
        found = state_of(case(METHODS.load("sglr")(), defence=nothing).run())
        assert all(torch.equal(tensor, found[name]) for name, tensor in plain.items())


def test_a_client_with_nopeek_minimises_the_joint_loss(case) -> None:
    """One client: the lower segment's gradient is that of cross-entropy + weight x distance correlation."""
    training = case(METHODS.load("psl")(), sizes=(8,), batch=8, epochs=1, rate=0.5, defence="nopeek:weight=2", seed=3)
    lower, upper = training.segments()
    model, above = lower(0), deepcopy(upper)
    samples = training.clients().train
    order = torch.from_numpy(generator(3, "order", 0, 0).permutation(8))
    inputs, labels = samples.inputs[order], samples.targets[order]
    smashed = model(inputs)
    loss = F.cross_entropy(above(smashed), labels)
    # A sum of products with the term's gradient has the term's own gradient by the weights.
    own = (smashed * NoPeek(2.0).extra_gradient(inputs, smashed)).sum()
    gradients = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    further = torch.autograd.grad(own, list(model.parameters()))
    wanted = [
        weight - 0.5 * (one + two) for weight, one, two in zip(model.parameters(), gradients, further, strict=True)
    ]
    found = training.run().engine.collect((0,))
    for one, other in zip(wanted, found.values(), strict=True):
        torch.testing.assert_close(one, other[0], rtol=1e-5, atol=1e-6)


def test_methods_without_a_cut_refuse_defences() -> None:
    with pytest.raises(UsageError, match=r"defence = noise.*nothing crosses a cut"):
        build(Experiment.from_flat({"method": "fl", "defence": "noise"}))


def test_another_defence_is_another_run() -> None:
    plain, other = (Experiment.from_flat({"defence": text}).fingerprint() for text in ("none", "noise:sigma=0.5"))
    assert plain != other


def test_layers_without_weights_leave_shapes_as_they_are(case) -> None:
    trainer = case(METHODS.load("psl")(), defence="clip:norm=1").build()
    assert isinstance(trainer.server.segment, nn.Module)
    assert {tuple(tensor.shape) for tensor in trainer.engine.segment.values()} == {(3, 4), (3,)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("defence", "price"),
    [
        ("clip:norm=10", 0.05),
        ("quantize:bits=4", 0.05),
        ("nopeek:weight=0.1", 0.1),
        ("max-norm", 0.25),
    ],
)
def test_what_a_mild_defence_costs_in_accuracy(defence: str, price: float, once: Any, tmp_path: Path) -> None:
    settings = {"clients": 4, "epochs": 5, "threads": 1, "dataset": "digits"}
    plain = sglr.Run.open(once("undefended", lambda path: sglr.train(out=path, **settings)))
    defended = sglr.train(out=tmp_path / "defended", defence=defence, **settings)
    assert plain.summary["test"]["accuracy"] - defended.summary["test"]["accuracy"] < price
    assert defended.summary["defences"]["statement"]
