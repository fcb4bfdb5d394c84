"""Regression: losses by hand, scores equal to torchmetrics' over all samples at once and in the data's own units."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import vmap
from torchmetrics import MeanAbsoluteError, MeanSquaredError, R2Score

from sglr.core.data import ClientData, Samples
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.tasks.regression import Regression

UNITS = Regression(target_mean=(0.0,), target_scale=(1.0,))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", [0.25, 9.0]),
        ("mae", [0.5, 3.0]),
        ("huber:1", [0.125, 2.5]),  # 0.5²/2, and 1 · (3 - 1/2)
        ("huber", [0.125, 2.5]),
        ("huber:2", [0.125, 4.0]),  # 2 · (3 - 2/2)
        ("quantile:0.9", [0.05, 2.7]),  # predicted too high by 0.5: 0.1 · 0.5; too low by 3: 0.9 · 3
    ],
)
def test_losses_by_hand(loss: str, expected: list[float]) -> None:
    outputs, targets = torch.tensor([[1.5], [2.0]]), torch.tensor([1.0, 5.0])
    losses = replace(UNITS, loss=loss).losses(outputs, targets)
    torch.testing.assert_close(losses, torch.tensor(expected))


def test_one_number_per_sample_is_never_broadcast_against_the_others() -> None:
    outputs = torch.tensor([[1.0], [2.0], [3.0]])
    for targets in (outputs[:, 0], outputs, outputs[:, 0].long()):
        assert UNITS.losses(outputs, targets).tolist() == [0, 0, 0]
        sums = UNITS.sums(outputs.expand(2, 3, 1), targets)
        assert sums["squared"].tolist() == [[0], [0]]


def test_the_loss_of_several_targets_is_their_mean_in_standard_units() -> None:
    task = Regression(target_mean=(10.0, 0.0), target_scale=(2.0, 0.5))
    losses = task.losses(torch.tensor([[0.0, 1.0]]), torch.tensor([[14.0, 0.5]]))
    assert losses.tolist() == [((0 - 2) ** 2 + (1 - 1) ** 2) / 2]


def test_several_quantiles_of_each_target_by_hand() -> None:
    task = replace(UNITS, loss="quantile:0.1+0.5+0.9")
    outputs, targets = torch.tensor([[0.0, 2.0, 5.0]]), torch.tensor([3.0])
    assert task.outputs(Targets(dtype="float32")) == 3
    torch.testing.assert_close(task.losses(outputs, targets), torch.tensor([(0.1 * 3 + 0.5 * 1 + 0.1 * 2) / 3]))
    sums = task.sums(outputs.unsqueeze(0), targets)
    assert float(task.scores(sums)["mae"]) == 1, "the median is the prediction"
    assert float(task.scores(sums)["pinball"]) == pytest.approx(1 / 3)
    told = task.figures(sums, Targets(dtype="float32"))["per_target"][0]["quantiles"]
    assert [told[share]["below"] for share in ("0.1", "0.5", "0.9")] == [0, 0, 1]


def test_losses_of_many_clients_at_once_are_those_of_each() -> None:
    for loss in ("mse", "mae", "huber", "quantile:0.2+0.5"):
        task = Regression(loss, (1.0, 2.0), (2.0, 3.0))
        targets = torch.randn(3, 5, 2)
        outputs = torch.randn(3, 5, task.outputs(Targets(shape=(2,), dtype="float32")))
        each = torch.stack([task.losses(*client) for client in zip(outputs, targets, strict=True)])
        torch.testing.assert_close(vmap(task.losses)(outputs, targets), each)


@given(
    st.integers(2, 30),
    st.integers(1, 3),
    st.integers(1, 3),
    st.lists(st.integers(1, 29), max_size=4),
    st.integers(0, 9),
)
def test_scores_are_those_of_torchmetrics_over_all_samples_however_they_were_cut(
    samples: int, clients: int, targets: int, cuts: list[int], seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    mean, scale = torch.randn(targets, generator=rng) * 100, torch.rand(targets, generator=rng) * 50 + 1
    task = Regression(target_mean=tuple(mean.tolist()), target_scale=tuple(scale.tolist()))
    outputs = torch.randn(clients, samples, targets, generator=rng, dtype=torch.float64)
    wanted = mean + scale * torch.randn(samples, targets, generator=rng, dtype=torch.float64)
    shaped = wanted[:, 0] if targets == 1 else wanted
    edges = sorted({0, samples, *(cut for cut in cuts if cut < samples)})
    parts = [task.sums(outputs[:, a:b], shaped[a:b]) for a, b in pairwise(edges)]
    scores = task.scores({name: torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]})
    for client, predicted in enumerate(mean + scale * outputs):
        metrics = {"rmse": MeanSquaredError(squared=False), "mae": MeanAbsoluteError(), "r2": R2Score()}
        for name, metric in metrics.items():
            expected = metric.set_dtype(torch.float64)(predicted, wanted)
            torch.testing.assert_close(scores[name][client], expected, rtol=1e-6, atol=1e-9)
    assert next(iter(scores)) == task.headline


def drawn(rows: list[list[int]], targets: Tensor) -> ClientData:
    samples = Samples(torch.zeros(len(targets), 1), targets)
    kind = Targets(shape=tuple(targets.shape[1:]), dtype="float32")
    return ClientData(samples, tuple(map(torch.tensor, rows)), None, samples, kind)


def test_standard_units_are_those_of_the_clients_training_data() -> None:
    targets = torch.tensor([[1.0, 5.0], [3.0, 5.0], [1000.0, 5.0], [5.0, 5.0]])
    task = Regression().fitted(drawn([[0, 1], [3]], targets))
    assert task.target_mean == (3, 5), "the third sample is no client's"
    assert task.target_scale == (pytest.approx((8 / 3) ** 0.5), 1), "a target without spread keeps its unit"
    assert task.fitted(drawn([[2]], targets)) == task
    single = Regression(target_mean=(0.0,)).fitted(drawn([[0, 1]], targets[:, 0]))
    assert (single.target_mean, single.target_scale) == ((0,), (1,))


def test_data_at_sites_need_their_mean_and_scale() -> None:
    with pytest.raises(UsageError, match=r"target_scale = none.*give target_mean and target_scale"):
        Regression(target_mean=(1.0,)).fitted(drawn([], torch.zeros(0)))


def test_a_constant_target_is_predicted_or_not_as_scikit_learn_has_it() -> None:
    outputs, targets = torch.tensor([[[2.0], [2.0]], [[2.0], [1.0]]]), torch.tensor([2.0, 2.0])
    assert UNITS.scores(UNITS.sums(outputs, targets))["r2"].tolist() == [1, 0]


def test_the_residual_plot_counts_every_pair_and_its_quantiles_are_those_of_the_residuals() -> None:
    rng = torch.Generator().manual_seed(0)
    task = Regression(target_mean=(50.0,), target_scale=(10.0,))
    outputs = torch.randn(2, 3000, 1, generator=rng, dtype=torch.float64)
    targets = 50 + 10 * torch.randn(3000, generator=rng, dtype=torch.float64)
    outputs[0, 0], targets[0] = 99, -1e9
    told = task.figures(task.sums(outputs, targets), Targets(("days",), dtype="float32"))
    (plot,), (scored,) = told["residuals"], told["per_target"]
    counts = torch.tensor(plot["counts"])
    assert (counts.sum(), plot["edges"][0], plot["edges"][-1]) == (6000, 15, 85)
    assert counts.shape == (24, 24) and len(plot["edges"]) == 25 and plot["name"] == scored["name"] == "days"
    assert counts[0, -1] >= 1, "a target far below and a prediction far above are in the outer bins"
    residuals = (10 * outputs[..., 0] + 50 - targets).flatten()
    for share, value in scored["residuals"].items():
        if abs(value) < 35:
            assert value == pytest.approx(float(residuals.quantile(float(share))), abs=0.5)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"loss": "l2"}, "loss = l2: no such loss of regression; give mse"),
        ({"loss": "mse:3"}, "loss = mse:3"),
        ({"loss": "huber:0"}, "DELTA is no number above 0"),
        ({"loss": "huber:wide"}, "DELTA is no number above 0"),
        ({"loss": "quantile"}, "nothing is no list of shares"),
        ({"loss": "quantile:1"}, "no list of shares between 0 and 1"),
        ({"loss": "quantile:0.1+"}, "no list of shares between 0 and 1"),
        ({"target_scale": (1.0, 0.0)}, "a scale is not above 0"),
        ({"target_mean": (float("nan"),)}, "a mean is not finite"),
    ],
)
def test_refuses_parameters_that_make_no_sense(parameters: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        Regression(**parameters)  # type: ignore[arg-type]
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (Targets.of_classes(("no", "yes")), "these are numbers of classes; the targets are class numbers of 2 classes"),
        (Targets(shape=(8, 8), dtype="float32"), "one row of numbers per sample"),
        (Targets(shape=(3,), dtype="float32"), "target_mean = 1.0,2.0: there are 3 targets"),
    ],
)
def test_refuses_targets_that_do_not_fit(targets: Targets, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        Regression(target_mean=(1.0, 2.0)).check(targets)
    assert said in str(raised.value)
