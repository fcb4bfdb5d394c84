from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sglr.core.data import Samples
from sglr.core.errors import UsageError
from sglr.core.random import key
from sglr.core.registry import PARTITIONERS
from sglr.data.partitioners.balanced import Balanced
from sglr.data.partitioners.dirichlet import Dirichlet
from sglr.data.partitioners.iid import Iid
from sglr.data.partitioners.natural import Natural
from sglr.data.partitioners.pathological import Pathological
from sglr.data.partitioners.resample import Resample
from sglr.data.partitioners.shards import Shards

RULES = [Resample(), Iid(), Balanced(), Dirichlet(), Shards(), Pathological(), Natural("site")]


def samples(count: int, classes: int, sites: int) -> Samples:
    targets = torch.from_numpy(np.random.default_rng(0).permutation(np.arange(count) % classes))
    site = np.array([f"site {row % sites:03}" for row in range(count)], dtype=object)
    return Samples(torch.zeros(count, 1), targets, {"site": site})


def counts(data: Samples, rows: list[NDArray[np.int64]], classes: int) -> NDArray[np.int64]:
    targets = data.targets.numpy()
    return np.stack([np.bincount(targets[own], minlength=classes) for own in rows])


def test_every_registered_rule_is_tested() -> None:
    assert {type(rule) for rule in RULES} == {PARTITIONERS.load(name) for name in PARTITIONERS.names()}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@settings(max_examples=15, deadline=None)
@given(clients=st.integers(1, 20), seed=st.integers(0, 2**40))
def test_parts_are_non_empty_keyed_by_the_seed_and_disjoint_unless_they_overlap(
    rule: Iid, clients: int, seed: int
) -> None:
    data = samples(1000, classes=5, sites=clients)
    rows = rule.partition(data, clients, seed)
    everything = np.concatenate(rows)
    assert len(rows) == clients
    assert min(map(len, rows)) > 0
    assert getattr(rule, "overlapping", False) or len(np.unique(everything)) == len(everything)
    assert all(len(np.unique(own)) == len(own) for own in rows)
    assert everything.min() >= 0
    assert everything.max() < 1000
    again = rule.partition(data, clients, seed)
    assert all(np.array_equal(one, two) for one, two in zip(rows, again, strict=True))


@pytest.mark.parametrize("rule", [Resample(), Iid(), Balanced(), Dirichlet(), Shards(), Pathological()])
def test_another_seed_divides_otherwise(rule: Iid) -> None:
    data = samples(1000, classes=5, sites=1)
    one, two = rule.partition(data, 10, 1), rule.partition(data, 10, 2)
    assert any(not np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@given(count=st.integers(40, 300), clients=st.integers(1, 40), classes=st.integers(2, 7))
def test_balanced_clients_differ_by_one_at_most(count: int, clients: int, classes: int) -> None:
    data = samples(count, classes, 1)
    table = counts(data, Balanced().partition(data, clients, 0), classes)
    assert (table.max(axis=0) - table.min(axis=0) <= 1).all()
    assert table.sum(axis=1).max() - table.sum(axis=1).min() <= 1
    assert table.sum() == count


def test_a_small_concentration_is_more_uneven_than_a_large_one() -> None:
    data = samples(2000, 10, 1)

    def largest_share(concentration: float) -> float:
        table = counts(data, Dirichlet(concentration).partition(data, 10, 0), 10)
        return float((table.max(axis=1) / table.sum(axis=1)).mean())

    assert largest_share(0.1) > 0.4 > 0.15 > largest_share(1000.0)


def test_shards_are_of_equal_size_and_few_classes() -> None:
    data = samples(1000, 10, 1)
    rows = Shards(2).partition(data, 20, 0)
    table = counts(data, rows, 10)
    assert set(map(len, rows)) == {50}
    assert (table > 0).sum(axis=1).max() <= 2  # 100 of each class, shards of 25


@pytest.mark.parametrize("few", [1, 2, 3])
def test_pathological_clients_have_exactly_so_many_classes(few: int) -> None:
    data = samples(1000, 10, 1)
    table = counts(data, Pathological(few).partition(data, 20, 0), 10)
    assert set((table > 0).sum(axis=1)) == {few}
    assert table.sum() == 1000


def test_natural_clients_have_one_key_each_in_sorted_order() -> None:
    data = samples(100, 2, 7)
    rows = Natural("site").partition(data, 7, 0)
    assert [set(data.columns["site"][own]) for own in rows] == [{f"site {number:03}"} for number in range(7)]


def test_a_thousand_clients_with_sixty_thousand_samples(capfd: pytest.CaptureFixture[str]) -> None:
    data = samples(60_000, 10, 1000)
    rows = Shards().partition(data, 1000, 0)
    assert set(map(len, rows)) == {60}
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize(
    ("rule", "clients", "message"),
    [
        (Dirichlet(0), 4, "concentration = 0: not a positive number"),
        (Dirichlet(0.001), 50, "concentration = 0.001: 11 draws each left some of the 50 clients without"),
        (Shards(0), 4, "shards_per_client = 0"),
        (
            Shards(30),
            4,
            "shards_per_client = 30: 4 clients need more shards than there are samples (100)",
        ),
        (Pathological(6), 4, "classes_per_client = 6: the samples have 5 classes; give 1 to 5"),
        (Pathological(0), 4, "classes_per_client = 0"),
        (Pathological(5), 40, "classes_per_client = 5: a class has fewer samples"),
        (Natural("sit"), 4, "partition_by = sit: no such partition_by; did you mean 'site'?"),
        (Natural("site"), 5, "clients = 5: the column 'site' has 4 values among the training samples; give"),
        (Natural("site"), 3, "give --clients 4"),
    ],
)
def test_errors_name_the_parameter_and_the_remedy(rule: Iid, clients: int, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        rule.partition(samples(100, 5, 4), clients, 0)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_natural_needs_a_column() -> None:
    with pytest.raises(UsageError, match="has no column to divide by"):
        Natural("site").partition(Samples(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64)), 2, 0)


@given(count=st.integers(1, 50), draws=st.integers(1, 50), clients=st.integers(1, 200), more=st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_resample_serves_any_number_of_clients_and_later_ones_change_nothing(count, draws, clients, more) -> None:
    data = samples(count, 2, 1)
    if draws > count:
        with pytest.raises(UsageError, match=f"give 1 to {count}"):
            Resample(draws).partition(data, clients, 0)
        return
    few, many = (Resample(draws).partition(data, number, 0) for number in (clients, clients + more))
    assert [len(own) for own in many] == [draws] * (clients + more)
    assert all(np.array_equal(one, two) for one, two in zip(few, many, strict=False))


@pytest.mark.slow  # flwr-datasets takes seconds to import
def test_parts_by_class_are_those_of_flwr_datasets_bit_for_bit() -> None:
    """A run of a version that asked flwr-datasets keeps its partition when it is resumed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations within its libraries, and its own complaints about draws
        from flwr_datasets import partitioner as flower

        for clients, seed, classes in ((1, 0, 3), (7, 1, 5), (20, 2**40, 5), (50, 3, 2)):
            data, drawn = samples(997, classes, 1), key(seed, "partition")
            theirs: list[tuple[Any, Any]] = [
                *((Shards(n), flower.ShardPartitioner(clients, "label", n, seed=drawn)) for n in (1, 2, 3)),
                *(
                    (
                        Pathological(n),
                        flower.PathologicalPartitioner(clients, "label", n, "first-deterministic", seed=drawn),
                    )
                    for n in (1, 2)
                ),
                # The smaller, the more often some client has nothing, and shares are drawn anew.
                *(
                    (Dirichlet(size), flower.DirichletPartitioner(clients, "label", size, 1, seed=drawn))
                    for size in ((0.3, 100.0) if clients < 50 else (2.0,))
                ),
            ]
            for rule, other in theirs:
                found = rule.partition(data, clients, seed)
                assert [own.tolist() for own in found] == _rows_of(other, data, clients), (rule, clients, seed)


def _rows_of(partitioner: Any, data: Samples, clients: int) -> list[list[int]]:
    """Return the rows that a partitioner of flwr-datasets gives to every client; it sorts samples by class first."""
    from datasets import Dataset

    order = np.argsort(data.targets.numpy(), kind="stable")
    partitioner.dataset = Dataset.from_dict({"label": data.targets.numpy()[order], "row": order})
    return [list(partitioner.load_partition(client)["row"]) for client in range(clients)]


@pytest.mark.parametrize("targets", [torch.rand(60), torch.eye(3)[torch.arange(60) % 3].long()], ids=["floats", "rows"])
def test_rules_that_divide_by_class_refuse_samples_without_one_and_others_serve_them(targets: torch.Tensor) -> None:
    data = Samples(torch.zeros(60, 1), targets, {"site": np.array(["a", "b", "c"] * 20, dtype=object)})
    for rule in (Iid(), Resample(), Natural("site")):
        assert len(rule.partition(data, 3, 0)) == 3
    for rule in (Balanced(), Dirichlet(), Shards(), Pathological()):
        name = type(rule).__name__.lower()
        with pytest.raises(UsageError, match=f"partition = {name}: divides by class.*iid, natural or resample"):
            rule.partition(data, 3, 0)
