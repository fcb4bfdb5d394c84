"""Users' stories: data that leave a single sample for a step, and models that normalise by batch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.some_methods import FITTING, WITH_TAIL
from torch import Tensor, nn

import sglr
from sglr.assembly.build import build
from sglr.core.errors import UsageError
from sglr.core.registry import METHODS
from sglr.data.load import load_dataset
from sglr.experiment.describe import describe
from sglr.splitting import Thirds, needing_two


class Standardised(nn.Module):
    """A layer of one's own whose output for one sample is no number, and which raises nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / (x.std(0) + 1e-3)


def vectors(input_shape: tuple[int, ...], classes: int, norm: str = "batch") -> nn.Module:
    width = torch.Size(input_shape).numel()
    layer = {"batch": nn.BatchNorm1d(8), "layer": nn.LayerNorm(8), "own": Standardised()}[norm]
    return nn.Sequential(nn.Flatten(), nn.Linear(width, 8), layer, nn.Tanh(), nn.Linear(8, classes))


def one_pixel(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    layers = (nn.Conv2d(input_shape[0], 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(4, classes))


def digits(count: int) -> sglr.Dataset:
    """The first so many digits."""
    whole = load_dataset("digits", None)
    return sglr.Dataset("digits", whole.train.select(torch.arange(count)), whole.test, whole.classes)


def train(method: Any, samples: int, out: Path, **settings: Any) -> sglr.Run:
    """Train for an epoch on so many digits, all of which are divided among clients."""
    return sglr.train(method, dataset=digits(samples), epochs=1, validation=0, test_samples=40, out=out, **settings)


@pytest.mark.parametrize(
    ("model", "cut", "needy"),
    [
        (vectors, 2, "the server's segment"),
        (vectors, 3, "the client's segment"),
        (one_pixel, 1, "the server's segment"),
        (one_pixel, 3, "the client's segment"),
        (partial(vectors, norm="own"), 2, "the server's segment"),
    ],
)
def test_a_last_step_of_one_sample_is_told_and_joined_to_the_one_before(model, cut, needy, tmp_path, caplog) -> None:
    """289 samples in batches of eight leave the first of four clients one sample for a step of its own."""
    run = train("psl", 289, tmp_path / "run", model=model, cut=cut, clients=4)
    assert f"the last batch of client 0 has 9 samples, not 8 and then 1: {needy} can't train on a single" in caplog.text
    assert (run.history[0]["samples"], run.history[0]["steps"]) == (289, 9)
    assert np.isfinite(run.history[0]["loss"])


def test_without_batch_statistics_batches_are_as_ever(tmp_path, caplog) -> None:
    run = train("psl", 289, tmp_path / "run", model=partial(vectors, norm="layer"), cut=2, clients=4)
    assert run.history[0]["steps"] == 10
    assert not caplog.text


@pytest.mark.parametrize("tail", [None, 3])
@pytest.mark.parametrize(
    "method",
    [
        name if name in ("psl", "fl") else pytest.param(name, marks=pytest.mark.slow)
        for name in METHODS.names()
        if name != "cl" and METHODS.load(name).settings.get("batching") != "global"
    ],
)
def test_a_client_with_a_single_sample_is_told_and_does_not_train(method, tail, tmp_path, caplog) -> None:
    if tail and method not in WITH_TAIL:
        pytest.skip("has no tail")
    # An order of samples by which three clients have 1, 5 and 7 of the 13.
    data = digits(13)
    columns = {"site": np.array(["a"] + ["b"] * 5 + ["c"] * 7, dtype=object)}
    data = sglr.Dataset("digits", sglr.Samples(data.train.inputs, data.train.targets, columns), data.test, data.classes)
    settings = {"clients": 3, "partition": "natural", "partition_by": "site", "batch_size": 4, "validation": 0}
    settings |= FITTING.get(method, {})
    run = sglr.train(
        method, dataset=data, model=vectors, cut=None if METHODS.load(method).whole_model else 2, tail=tail,
        epochs=2, test_samples=40, out=tmp_path / "run", init="common", **settings,
    )  # fmt: skip
    assert "not trained, with a single sample each: client 0; the" in caplog.text
    assert [row["samples"] for row in run.history] == [12, 24]


def test_batches_drawn_from_all_data_may_be_single_samples_and_are_refused(tmp_path) -> None:
    with pytest.raises(sglr.UsageError, match=r"batching = global: .* single sample .* give --batching proportional"):
        train("gpsl", 289, tmp_path / "run", model=vectors, cut=2, clients=4)


ALONE = (7, 10)
"""Seeds with which one of eight clients of uneven data would end the epoch alone, with one sample."""


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[] if seed in ALONE else pytest.mark.slow) for seed in range(12)]
)
def test_digits_divided_unevenly_with_any_seed(seed, tmp_path, caplog) -> None:
    settings = {"clients": 8, "partition": "dirichlet", "concentration": 0.5, "seed": seed}
    settings |= {"model": vectors, "cut": 2, "epochs": 1, "test_samples": 40}
    sizes = build(*describe("psl", **settings)).data.sizes
    joined = [client for client, size in enumerate(sizes) if size % 8 == 1]
    assert seed not in ALONE or sizes.index(max(sizes)) in joined
    assert (", ".join(map(str, joined)) + " has 9 samples, not 8 and then 1" in caplog.text) == bool(joined)
    run = sglr.train("psl", out=tmp_path / "run", **settings)
    assert run.history[0]["samples"] == sum(sizes)


def test_batches_of_one_and_clients_of_one_are_refused(tmp_path) -> None:
    with pytest.raises(
        UsageError, match=r"batch_size = 1: the server's segment can't train on a single sample .*; give 2"
    ):
        train("psl", 40, tmp_path / "run", model=vectors, cut=2, clients=4, batch_size=1)
    with pytest.raises(UsageError, match="clients = 40: each has a single sample, and the client's segment can't"):
        train("psl", 40, tmp_path / "run", model=vectors, cut=3, clients=40)
    assert not (tmp_path / "run").exists()


def test_which_segments_need_two_samples() -> None:
    inputs = torch.randn(2, 8)
    plain, norm = nn.Linear(8, 8), nn.BatchNorm1d(8)
    assert needing_two(Thirds(plain, plain, nn.Identity()), inputs) == ()
    assert needing_two(Thirds(norm, plain, norm), inputs) == ("the client's segment", "the client's tail")
    # Batch statistics over several positions of one sample are no trouble.
    assert needing_two(Thirds(nn.BatchNorm1d(8), nn.Identity(), plain), torch.randn(2, 8, 3)) == ()
    before = norm.running_mean.clone()
    drawn = torch.get_rng_state()
    needing_two(Thirds(nn.Dropout(), norm, plain), inputs)
    assert torch.equal(norm.running_mean, before)
    assert torch.equal(torch.get_rng_state(), drawn)
