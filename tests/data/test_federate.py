from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sglr.core.data import ClientData, Dataset, Samples
from sglr.core.errors import UsageError
from sglr.data.federate import federate
from sglr.data.load import load_dataset
from sglr.data.partitioners.balanced import Balanced
from sglr.data.partitioners.iid import Iid
from sglr.data.partitioners.natural import Natural


def numbered(count: int, classes: int = 3, validation: int | None = None) -> Dataset:
    """Samples whose input is their own number, so that each can be followed."""
    inputs = torch.arange(count, dtype=torch.float32)[:, None]
    targets = torch.arange(count) % classes
    columns = {"site": np.array([f"site {row % 4}" for row in range(count)], dtype=object)}
    train = Samples(inputs, targets, columns)
    return Dataset("numbered", train, train.select(torch.arange(3)), tuple("abc"), validation)


def owned(data: ClientData) -> list[int]:
    return [int(number) for rows in data.indices for number in data.train.inputs[rows, 0]]


@given(count=st.integers(20, 200), clients=st.integers(1, 18), seed=st.integers(0, 2**40))
def test_every_sample_is_held_apart_or_owned_by_one_client(count: int, clients: int, seed: int) -> None:
    data = federate(numbered(count), Iid(), clients, seed)
    assert data.validation is not None
    held = [int(number) for number in data.validation.inputs[:, 0]]
    assert sorted(held + owned(data)) == list(range(count))
    assert len(held) == count // 10
    assert max(data.sizes) - min(data.sizes) <= 1


@given(st.integers(1, 6), st.integers(1, 15), st.integers(0, 1000))
def test_each_client_of_an_iid_division_owns_exactly_the_samples_asked_for(n: int, clients: int, seed: int) -> None:
    data = federate(numbered(90), Iid(), clients, seed, validation=0, samples_per_client=n)
    assert data.sizes == (n,) * clients
    assert len(data.train) == n * clients
    assert len(set(owned(data))) == n * clients
    assert data.validation is None


def test_a_row_keeps_its_target_and_its_columns() -> None:
    data = federate(numbered(100), Balanced(), 7, seed=1, samples_per_client=5)
    numbers = data.train.inputs[:, 0].long()
    assert torch.equal(data.train.targets, numbers % 3)
    assert list(data.train.columns["site"]) == [f"site {number % 4}" for number in numbers.tolist()]


def test_rows_are_drawn_anew_by_seed() -> None:
    draws = [owned(federate(numbered(100), Iid(), 3, seed, samples_per_client=4)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.slow
def test_rows_are_the_same_in_another_process() -> None:
    data = federate(load_dataset("digits", None), Iid(), 3, 5, samples_per_client=4)
    program = (
        "from sglr.data.load import load_dataset; from sglr.data.federate import federate;"
        "from sglr.data.partitioners.iid import Iid;"
        "data = federate(load_dataset('digits', None), Iid(), 3, 5, samples_per_client=4);"
        "print(data.train.inputs.tolist(), data.validation.targets.tolist())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert data.validation is not None
    assert done.stdout.strip() == f"{data.train.inputs.tolist()} {data.validation.targets.tolist()}"


def test_validation_split_does_not_depend_on_how_the_rest_is_divided() -> None:
    splits = [federate(numbered(100), rule, c, 3).validation for rule, c in ((Iid(), 2), (Balanced(), 9))]
    assert splits[0] is not None
    assert splits[1] is not None
    assert torch.equal(splits[0].inputs, splits[1].inputs)


@pytest.mark.parametrize(
    ("validation", "custom", "held"),
    [(None, None, 10), (None, 25, 25), (0.3, None, 30), (7, 25, 7), (0, 25, 0)],
)
def test_validation_samples(validation: int | float | None, custom: int | None, held: int) -> None:
    data = federate(numbered(100, validation=custom), Iid(), 2, 0, validation=validation)
    assert sum(data.sizes) == 100 - held
    assert (len(data.validation) if data.validation else 0) == held


def test_a_non_iid_division_keeps_small_clients_whole() -> None:
    data = federate(numbered(41), Natural("site"), 4, 0, validation=0, samples_per_client=11)
    assert data.sizes == (11, 10, 10, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clients": 0}, "clients = 0: at least one client is needed; give 1 or more"),
        ({"clients": 91}, "clients = 91: there are 90 samples to divide; give 90 clients or fewer"),
        ({"validation": 100}, "validation = 100: there are 100 training samples; give 0 to 99"),
        ({"validation": -1}, "validation = -1"),
        ({"validation": 1.0}, "validation = 1.0"),
        ({"validation": -0.001}, "validation = -0.001"),
        ({"validation": float("nan")}, "validation = nan"),
        ({"samples_per_client": 0}, "samples_per_client = 0"),
        (
            {"samples_per_client": 23},
            "23: 4 clients need 92 samples, but there are 90; give 22 or fewer",
        ),
    ],
)
def test_errors_name_the_option_and_the_remedy(arguments: dict[str, int | float], message: str) -> None:
    given_arguments = {"clients": 4, "seed": 0, **arguments}
    with pytest.raises(UsageError) as raised:
        federate(numbered(100), Iid(), **given_arguments)  # type: ignore[arg-type]
    assert message in str(raised.value)


class Greedy:
    """A rule of one's own that gives everything to the first client."""

    def partition(self, samples: Samples, clients: int, seed: int) -> list[np.ndarray]:
        del seed
        return [np.arange(len(samples)), *(np.arange(0) for _ in range(clients - 1))]


def test_a_rule_that_leaves_a_client_without_samples_is_refused() -> None:
    with pytest.raises(UsageError, match=r"partition = greedy: clients 1, 2 would have no samples; give fewer clients"):
        federate(numbered(100), Greedy(), 3, 0)
    with pytest.raises(UsageError, match="client 1 would have no samples"):
        federate(numbered(100), Greedy(), 2, 0)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_samples_per_client_are_a_random_choice_of_the_clients_own(seed: int) -> None:
    whole = federate(numbered(60), Natural("site"), 4, seed, validation=0)
    few = federate(numbered(60), Natural("site"), 4, seed, validation=0, samples_per_client=5)
    for all_rows, rows in zip(whole.indices, few.indices, strict=True):
        chosen, own = few.train.inputs[rows, 0].tolist(), whole.train.inputs[all_rows, 0].tolist()
        assert set(chosen) < set(own)
        assert len(chosen) == 5


def test_fewer_test_samples_are_the_same_ones_for_every_seed() -> None:
    dataset = load_dataset("digits", None, {})
    some = [federate(dataset, Iid(), 3, seed=seed, test_samples=40).test for seed in (0, 1)]
    assert len(some[0]) == 40
    assert torch.equal(some[0].inputs, some[1].inputs)
    assert len(federate(dataset, Iid(), 3, seed=0, test_samples=10**6).test) == len(dataset.test)
