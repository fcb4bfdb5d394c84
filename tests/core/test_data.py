"""Samples keep inputs, targets and columns together."""

from __future__ import annotations

import numpy as np
import torch

from sglr.core.data import ClientData, Dataset, Samples


def make_samples(number: int) -> Samples:
    columns = {"hospital": np.array([f"h{i}" for i in range(number)], dtype=object)}
    return Samples(torch.arange(number * 6.0).reshape(number, 2, 3), torch.arange(number), columns)


def test_selecting_takes_the_same_rows_of_everything() -> None:
    chosen = make_samples(5).select(torch.tensor([3, 0, 3]))
    assert len(chosen) == 3
    assert chosen.targets.tolist() == [3, 0, 3]
    assert chosen.inputs[:, 0, 0].tolist() == [18.0, 0.0, 18.0]
    assert chosen.columns["hospital"].tolist() == ["h3", "h0", "h3"]


def test_an_input_shape_is_without_the_sample_dimension() -> None:
    assert Dataset("toy", make_samples(5), make_samples(2), ("a", "b")).input_shape == (2, 3)


def test_sizes_are_those_of_each_clients_share() -> None:
    rows = (torch.tensor([0, 4]), torch.tensor([2]), torch.tensor([], dtype=torch.int64))
    assert ClientData(make_samples(5), rows, None, make_samples(2), ("a",)).sizes == (2, 1, 0)
