"""Grades: losses by hand, kappa of all samples however they are cut, and an order that someone has to know."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from torch.func import vmap

from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.tasks.ordinal import Ordinal

GRADES = Targets.of_classes(("0", "1", "2", "3"))


def sure(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_losses_by_hand() -> None:
    steps = [0.9, 0.6, 0.3]
    outputs = torch.tensor([[sure(step) for step in steps]]).expand(4, 3)
    targets = torch.arange(4)
    # Above 0 with 0.9; of these above 1 with 0.6; of these above 2 with 0.3.
    chances = [0.1, 0.9 * 0.4, 0.9 * 0.6 * 0.7, 0.9 * 0.6 * 0.3]
    assert sum(chances) == pytest.approx(1)
    assert Ordinal().losses(outputs, targets).tolist() == pytest.approx([-math.log(p) for p in chances], rel=1e-5)
    coral = Ordinal(loss="coral").losses(outputs, targets)
    above = [
        -sum(math.log(step if grade > place else 1 - step) for place, step in enumerate(steps)) for grade in range(4)
    ]
    assert coral.tolist() == pytest.approx(above, rel=1e-5)
    assert Ordinal().predicted(outputs[0]).item() == 2  # P(y > 1) = 0.54, P(y > 2) = 0.16
    assert Ordinal(loss="coral").predicted(torch.tensor([9.0, 1.0, -1.0])).item() == 2
    rows = vmap(Ordinal().losses)(outputs[None], targets[None])
    torch.testing.assert_close(rows[0], Ordinal().losses(outputs, targets))


@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 3),
    st.integers(8, 40),
    st.lists(st.integers(1, 39), max_size=3),
    st.sampled_from(["corn", "coral"]),
    st.integers(0, 2**31),
)
def test_scores_are_those_of_all_samples_at_once(clients, samples, cuts, loss, seed) -> None:
    torch.manual_seed(seed)
    outputs, targets = 2 * torch.randn(clients, samples, 3), torch.randint(4, (samples,))
    task = Ordinal(loss=loss, metrics=("kappa", "macro_f1"))
    edges = [0, *sorted({cut for cut in cuts if cut < samples}), samples]
    parts = [task.sums(outputs[:, start:end], targets[start:end]) for start, end in pairwise(edges)]
    sums = {name: sum(part[name] for part in parts) for name in parts[0]}
    scores = task.scores(sums)
    assert tuple(scores) == task.score_names
    for client in range(clients):
        found = task.predicted(outputs[client])
        apart = (found - targets).abs().double()
        wanted = {
            "quadratic_weighted_kappa": cohen_kappa_score(targets, found, weights="quadratic", labels=range(4)),
            "kappa": cohen_kappa_score(targets, found, labels=range(4)),
            "mae": float(apart.mean()),
            "accuracy": float(task.hits(outputs[client], targets).double().mean()),
            "within_one": float((apart <= 1).double().mean()),
        }
        for name, value in wanted.items():
            assert float(scores[name][client]) == pytest.approx(value, abs=1e-6), name


def test_an_order_that_names_do_not_tell_has_to_be_given() -> None:
    Ordinal().check(GRADES)
    Ordinal().check(Targets.of_classes(("mild", "bad", "worst")))  # someone has put them so
    pain = Targets.of_classes(("high", "low", "medium"))
    with pytest.raises(UsageError, match=r"order = none: .*order of the alphabet; .*--order low,medium,high"):
        Ordinal().check(pain)
    for order in (("low", "high"), ("low", "high", "middle")):
        with pytest.raises(UsageError, match="the classes are high, low, medium"):
            Ordinal(order=order).check(pain)
    with pytest.raises(UsageError, match="stand in an order already: mild, bad, worst; leave it out"):
        Ordinal(order=("bad", "mild", "worst")).check(Targets.of_classes(("mild", "bad", "worst")))
    task = Ordinal(order=("low", "medium", "high"), metrics=("kappa",))
    task.check(pain)
    task.check_metrics(pain)
    assert task.ranks(torch.tensor([[0], [1], [2]])).tolist() == [[2], [0], [1]]
    outputs, targets = torch.tensor([[9.0, 9.0], [-9.0, -9.0], [-9.0, -9.0]]), torch.tensor([0, 1, 2])
    assert task.hits(outputs, targets).tolist() == [True, True, False]
    figures = task.figures(task.sums(outputs[None], targets), pain)
    assert figures["confusion"] == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert [one["name"] for one in figures["per_class"]] == ["low", "medium", "high"]
    assert figures["per_class"][0] == {"name": "low", "support": 1, "recall": 1, "precision": 0.5, "f1": 2 / 3}
    assert figures["per_class"][1]["precision"] is None
    with pytest.raises(UsageError, match="names a class twice"):
        Ordinal(order=("a", "a"))


@pytest.mark.parametrize("order", [(), ("1", "2", "10")])
@pytest.mark.parametrize("names", [("2", "10", "1"), ("10", "2", "1")])
def test_numbers_that_neither_rise_nor_follow_the_alphabet_are_refused(names, order) -> None:
    # Their numbers in the data could not be told from the order: it would put every class in a wrong place.
    with pytest.raises(UsageError, match=r"order = .*neither rise nor .*--classes 1,2,10\)"):
        Ordinal(order=order).check(Targets.of_classes(names))


def test_numbers_in_the_order_of_the_alphabet_get_the_places_that_the_order_states() -> None:
    sizes, task = Targets.of_classes(("1", "10", "2")), Ordinal(order=("1", "2", "10"))
    task.check(sizes)
    assert task.ranks(torch.arange(3)).tolist() == [0, 2, 1]
    Ordinal().check(Targets.of_classes(("1", "2", "10")))


def test_targets_that_do_not_fit_are_refused() -> None:
    for targets, said in {
        Targets.of_classes(("a", "b")): "use --task binary",
        Targets(dtype="float32"): "use --task regression",
        Targets(shape=(5,), classes=2): "use --task multilabel",
    }.items():
        with pytest.raises(UsageError, match=f"task = ordinal: .*{said}"):
            Ordinal().check(targets)
