"""Merge rules in training: every method that averages weights, every engine, absent clients, resumed runs."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import assert_close, covering, snapshot
from tests.some_methods import WITH_TAIL
from torch import Tensor

import sglr
from sglr.assembly.build import build
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import StepDone
from sglr.core.merging import MergeRule
from sglr.core.method import Method
from sglr.core.registry import MERGE_RULES, METHODS
from sglr.core.trainer import Hooks, Trainer
from sglr.merge_rules.mean import Mean
from sglr.merge_rules.median import Median
from sglr.merge_rules.norm_bound import NormBound
from sglr.merge_rules.trimmed_mean import TrimmedMean
from sglr.runs.config import Experiment

AVERAGING = ("fl", "gas", "mergesfl", "minibatch-sfl", "mix2sfl", "scala", "sfl", "sflv1", "sflv2")
ROBUST = (Median(), TrimmedMean(0.34), NormBound(), NormBound(0.05))
SIZES = (8, 5, 2, 6, 3)

every_averaging_method = pytest.mark.parametrize("name", AVERAGING)
every_robust_rule = pytest.mark.parametrize("rule", ROBUST, ids=str)


def make(name: str, **fields: Any) -> Method:
    method: Method = METHODS.load(name)(**fields)
    return method


def test_which_methods_average() -> None:
    shared = {name for name in METHODS.names() if METHODS.load(name).shares}
    others = {"ssl", "cse-fsl", "fsl-sage", "locfedmix-sl", "splitgp"}
    assert shared == {*AVERAGING, *others}, "a new method that shares weights: test it here"


@every_averaging_method
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batchnorm"])
def test_the_mean_is_what_it_was_before_there_were_rules(case, name: str, norm: bool) -> None:
    """The mean by δ_i of what was pushed last, to the last bit."""
    pushed: dict[str, Tensor] = {}
    trainer = case(make(name), sizes=SIZES, norm=norm, rule=Mean()).build()
    gather = trainer.engine.collect_present

    def remember(cohort: tuple[int, ...]) -> Any:
        present, weights = gather(cohort)
        pushed.update(weights)
        return present, weights

    trainer.engine.collect_present = remember
    trainer.run()
    shares = torch.tensor(SIZES, dtype=torch.float64) / sum(SIZES)
    for key, rows in pushed.items():
        wide = rows if rows.is_floating_point() else rows.double()
        mean = torch.tensordot(shares.to(wide), wide, dims=1)
        assert torch.equal(trainer.shared[key], mean if rows.is_floating_point() else mean.round().long())


@covering(name=AVERAGING, rule=ROBUST, tail={"": False, "tail": True})
@pytest.mark.usefixtures("double")
def test_stacked_equals_looped_with_clients_absent(case, name: str, rule: MergeRule, tail: bool) -> None:
    if tail and name not in WITH_TAIL:
        pytest.skip("has no tail")
    options = {"sizes": SIZES, "norm": True, "participation": 0.6, "least_batch": 2, "tail": tail, "rule": rule}
    stacked, looped = (case(make(name), stacking=form, **options).run() for form in ("stacked", "looped"))
    assert_close(snapshot(stacked), snapshot(looped), atol=1e-9, rtol=1e-9)
    plain = case(make(name), **{**options, "rule": Mean()}).run()
    assert not all(torch.equal(stacked.shared[key], plain.shared[key]) for key in plain.shared)


def _run_until(training: Any, stop_after: int | None, saved: Any = None) -> tuple[Trainer, Any]:
    trainer, states = training.build(), []

    def save(best: bool) -> None:
        states[:] = [(snapshot(trainer), replace(trainer.progress))]

    trainer.hooks = Hooks(save=save, stop=lambda: stop_after is not None and trainer.progress.steps >= stop_after)
    if saved is not None:
        trainer.restore(saved[0], replace(saved[1]))
    with suppress(Interrupted):
        trainer.run()
    return trainer, states[-1]


@pytest.mark.parametrize("name", ["sfl", "sflv1"])
@pytest.mark.parametrize("rule", [Median(), NormBound(0.05)], ids=str)
def test_resumed_equals_uninterrupted_bit_for_bit(case, name: str, rule: MergeRule) -> None:
    fields = {"average_every": 2} if name == "sfl" else {}
    training = case(make(name, **fields), sizes=SIZES, norm=True, least_batch=2, participation=0.8, rule=rule, epochs=3)
    whole, _ = _run_until(training, None)
    for steps in (1, 4):
        _, saved = _run_until(training, steps)
        resumed, _ = _run_until(training, None, saved)
        ours, theirs = snapshot(resumed), snapshot(whole)
        assert [key for key in theirs if not torch.equal(ours[key], theirs[key])] == []


@every_robust_rule
def test_copies_of_the_server_are_merged_by_the_same_rule(case, rule: MergeRule) -> None:
    """An attacker reaches its copy through what it sends: the mean of copies would let it through (SplitFed v1)."""
    trainer = case(make("sflv1"), sizes=(6, 6, 6, 6, 6), epochs=1, rule=rule).build()
    before = {name: tensor.clone() for name, tensor in trainer.server.segment.state_dict().items()}
    trainer.run()
    moved = [(tensor - before[name]).norm() for name, tensor in trainer.server.segment.state_dict().items()]
    assert all(float(each) > 0 for each in moved)
    clean = trainer.server.segment.state_dict()

    attacked = case(make("sflv1"), sizes=(6, 6, 6, 6, 6), epochs=1, rule=rule).build()
    merge = attacked.server.merge_copies

    def poisoned(merging: Any) -> None:
        weights = attacked.server.copies.weights((0,))
        attacked.server.copies.load((0,), {name: tensor[0] + 1e4 for name, tensor in weights.items()})
        merge(merging)

    attacked.server.merge_copies = poisoned
    attacked.run()
    for name, tensor in attacked.server.segment.state_dict().items():
        assert float((tensor - clean[name]).abs().max()) < 2.0
        rows = attacked.server.copies.weights((0, 1, 2, 3, 4))[name]
        assert torch.equal(rows, tensor.expand_as(rows))


@pytest.mark.parametrize("name", ["sfl", "sflv1", "fl"])
def test_a_merge_of_too_few_is_left_out_and_said(case, name: str, caplog: pytest.LogCaptureFixture) -> None:
    trainer = case(make(name), sizes=(6, 6, 6), epochs=2, rule=Median()).build()
    gather = trainer.engine.collect_present

    def two_came(cohort: tuple[int, ...]) -> Any:
        present, weights = gather(cohort)
        few = 2 if trainer.progress.epoch == 1 else 3
        return present[:few], {key: rows[:few] for key, rows in weights.items()}

    trainer.engine.collect_present = two_came
    first: dict[str, Tensor] = {}
    trainer.hooks = Hooks(
        observe=lambda event: first.update(trainer.shared) if isinstance(event, StepDone) and event.epoch == 0 else None
    )
    copies = [] if name != "sflv1" else [trainer.server.copies]
    with caplog.at_level(logging.WARNING):
        trainer.run()
    assert all(torch.equal(trainer.shared[key], first[key]) for key in first)
    held = trainer.engine.collect((0, 1, 2))
    assert all(torch.equal(rows, first[key].expand_as(rows)) for key, rows in held.items())
    for stack in copies:
        assert all(torch.equal(rows[0], rows[2]) for rows in stack.weights((0, 1, 2)).values())
    (said,) = caplog.messages
    assert said.startswith("nothing is merged in epoch 2, and all go on from the weights that were shared before: ")
    assert said.endswith("Median() needs 3 clients, and 2 are present")


def test_who_mixes_an_average_with_its_own_weights_takes_up_none_that_is_no_new_one() -> None:
    settings = {"method": "splitgp", "clients": 3, "samples_per_client": 8, "epochs": 2, "model": "mlp"}
    trainer = build(Experiment.from_flat({**settings, "dataset": "digits", "merge_rule": "median"})).trainer
    gather, publish = trainer.engine.collect_present, trainer.engine.publish
    published: list[tuple[int, ...]] = []

    def two_came(cohort: tuple[int, ...]) -> Any:
        present, weights = gather(cohort)
        few = 2 if trainer.progress.epoch == 1 else 3
        return present[:few], {key: rows[:few] for key, rows in weights.items()}

    def told(weights: Any, cohort: tuple[int, ...]) -> tuple[int, ...]:
        published.append(cohort)
        return publish(weights, cohort)

    trainer.engine.collect_present, trainer.engine.publish = two_came, told
    trainer.run()
    assert published == [(0, 1, 2)] * 2  # the first weights, and the average of the first epoch


# Users' stories.

TINY = {
    "clients": 6,
    "samples_per_client": 8,
    "test_samples": 8,
    "validation": 8,
    "epochs": 2,
    "model": "mlp",
    "threads": 1,
}


def test_a_run_records_its_rule_and_goes_on_with_it(tmp_path: Path) -> None:
    given = {"merge_rule": "trimmed-mean", "trimmed_share": 0.25, **TINY}
    whole = sglr.train("sfl", out=tmp_path / "whole", **given)
    settings = whole.summary["settings"]
    assert (settings["merge_rule"], settings["trimmed_share"]) == ("trimmed-mean", 0.25)
    seen: list[Any] = []
    with pytest.raises(Interrupted):
        sglr.train("sfl", out=tmp_path / "part", observe=seen.append, stop=lambda: len(seen) > 3, **given)
    again = sglr.resume(tmp_path / "part")
    assert again.summary["weights_sha256"] == whole.summary["weights_sha256"]


def test_runs_of_before_keep_their_fingerprints() -> None:
    experiment = Experiment.from_flat({"method": "sfl"})
    assert experiment.merge_rule == "mean"
    assert experiment.fingerprint() != Experiment.from_flat({"method": "sfl", "merge_rule": "median"}).fingerprint()
    assert experiment.fingerprint() == "bf07749cbd986d17"  # as sglr wrote it into checkpoints before


def test_a_rule_in_python_is_refused_likewise(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"merge_rule = median: method sglr merges no weights"):
        sglr.train(sglr.SGLR(), merge_rule="median", out=tmp_path / "run", **TINY)
    assert set(MERGE_RULES.names()) == {"mean", "median", "norm-bound", "trimmed-mean"}
