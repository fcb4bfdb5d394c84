"""Rows held apart: every class in proportion and lost to neither part, no group in both."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.core.random import generator
from sglr.data.federate import federate
from sglr.data.load import load_dataset
from sglr.data.partitioners.iid import Iid
from sglr.data.split import held_apart, stratified_split


def rng(seed: int = 0) -> np.random.Generator:
    return generator(seed, "a test")


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 2**40),
)
def test_no_class_is_lost_and_each_has_its_share(sizes: list[int], share: float, seed: int) -> None:
    targets = rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    held = int(share * len(targets))
    assume(len(sizes) <= held <= len(targets) - len(sizes))
    apart = held_apart(targets, held, rng(seed))
    assert apart.sum() == held
    taken, left = (np.bincount(targets[side], minlength=len(sizes)) for side in (apart, ~apart))
    assert left.min() >= 1
    for size, count in zip(sizes, taken, strict=True):
        assert count >= (size > 1)
        # No share, on either side, is so small that it is rounded to nothing.
        if min(sizes) * min(held, len(targets) - held) > len(targets):
            assert abs(count - size * held / len(targets)) < 1


def test_what_is_held_apart_depends_on_the_seed_alone() -> None:
    targets = np.arange(50) % 3
    draws = [held_apart(targets, 10, rng(seed)).tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


@settings(deadline=None)
@given(st.integers(0, 2**40), st.floats(0.05, 0.6), st.integers(4, 30), st.integers(1, 12))
def test_a_group_is_on_one_side(seed: int, share: float, count: int, size: int) -> None:
    draw = rng(seed)
    groups = draw.permutation(np.repeat(np.arange(count), size)).astype(object)
    targets = groups.astype(int) % 2
    assume(0 < ceil(share * len(targets)) < len(targets))
    train, test = stratified_split(targets, share, seed, groups)
    assert sorted([*train, *test]) == list(range(count * size))
    assert not set(groups[train]) & set(groups[test])
    assert set(targets[train]) == {0, 1}
    assert len(test) > 0
    # The best draw misses the number that is asked for by less than two groups, one of each class.
    assert abs(len(test) - share * len(targets)) <= max(size * 2, 1)


def test_groups_are_chosen_so_that_rare_classes_are_in_both_parts() -> None:
    groups = np.repeat([f"patient {number}" for number in range(40)], 5)
    targets = np.repeat((np.arange(40) < 4).astype(int), 5)  # 4 of 40 patients are ill
    for seed in range(10):
        train, test = stratified_split(targets, 0.25, seed, groups)
        assert np.bincount(targets[test]).tolist() == [45, 5]
        assert np.bincount(targets[train]).tolist() == [135, 15]


@pytest.mark.parametrize("groups", [["a"] * 6, ["a", "b", "c"] * 2])
def test_groups_that_cannot_be_held_apart(groups: list[str]) -> None:
    with pytest.raises(UsageError, match=r"group = \d group\(s\): no group can be held out, since each has all rows"):
        stratified_split(np.arange(6) % 3, 0.2, 0, np.array(groups))


def test_many_groups_are_divided_soon() -> None:
    groups = np.arange(20_000)
    train, test = stratified_split(groups % 10, 0.2, 0, groups)
    assert (len(train), len(test)) == (16_000, 4_000)


def test_validation_keeps_groups_whole_and_classes_in_proportion() -> None:
    rows = np.arange(200)
    patient = (rows // 10).astype(str).astype(object)
    train = Samples(torch.from_numpy(rows[:, None]).float(), torch.from_numpy(rows // 10 % 2), {"patient": patient})
    grouped = Dataset("visits", train, train, ("well", "ill"), group="patient")
    data = federate(grouped, Iid(), 3, 0, validation=0.2)
    assert data.validation is not None
    assert len(data.train) + len(data.validation) == 200
    assert not set(data.validation.columns["patient"]) & set(data.train.columns["patient"])
    assert np.bincount(data.validation.targets.numpy()).tolist() == [20, 20]


def test_validation_and_fewer_test_samples_of_digits_have_all_classes_in_proportion() -> None:
    dataset = load_dataset("digits", None)
    data = federate(dataset, Iid(), 10, 3, validation=143, test_samples=40)
    assert data.validation is not None
    for part, whole in ((data.validation, dataset.train), (data.test, dataset.test)):
        share = np.bincount(whole.targets) * len(part) / len(whole)
        assert np.abs(np.bincount(part.targets, minlength=10) - share).max() < 1


@given(st.integers(0, 2**40), st.sampled_from(["measurements", "findings"]), st.booleans())
def test_targets_without_a_class_each_do_not_change_what_is_drawn(seed: int, kind: str, grouped: bool) -> None:
    draw = rng(seed)
    targets = draw.normal(size=60) if kind == "measurements" else draw.integers(2, size=(60, 3))
    groups = draw.permutation(np.arange(60) % 20) if grouped else None
    train, test = stratified_split(targets, 0.25, seed, groups)
    same_class = stratified_split(np.zeros(60, dtype=int), 0.25, seed, groups)
    assert (train.tolist(), test.tolist()) == tuple(rows.tolist() for rows in same_class)
    assert groups is None or not set(groups[train]) & set(groups[test])
    assert len(test) == 15
