"""Law 8: scores from sums are torchmetrics' over all samples at once, however these were cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import Metric, classification, regression
from torchmetrics.aggregation import SumMetric

from sglr.core.errors import UsageError
from sglr.metrics.metric_sums import MetricSums

BINARY: Mapping[str, Callable[[], Metric]] = {
    "auroc": lambda: classification.BinaryAUROC(thresholds=20),
    "average_precision": lambda: classification.BinaryAveragePrecision(thresholds=20),
    "f1": classification.BinaryF1Score,
    "recall": classification.BinaryRecall,
    "strict_recall": lambda: classification.BinaryRecall(threshold=0.8),
    "kappa": classification.BinaryCohenKappa,
}
CLASSES: Mapping[str, Callable[[], Metric]] = {
    "auroc": lambda: classification.MulticlassAUROC(4, thresholds=20),
    "accuracy": lambda: classification.MulticlassAccuracy(4),
    "top": lambda: classification.MulticlassAccuracy(4, top_k=2, average="micro"),
}
MEASURED: Mapping[str, Callable[[], Metric]] = {
    "r2": regression.R2Score,
    "rmse": lambda: regression.MeanSquaredError(squared=False),
    "explained": regression.ExplainedVariance,
}


def draws(kind: str, clients: int, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions of every client, and targets with every class."""
    if kind == "measured":
        return torch.randn(clients, samples), torch.randn(samples)
    classes = 2 if kind == "binary" else 4
    targets = torch.cat([torch.arange(classes), torch.randint(classes, (samples - classes,))])
    shape = (clients, samples) if kind == "binary" else (clients, samples, classes)
    return (torch.rand(shape) if kind == "binary" else torch.rand(shape).softmax(-1)), targets


@settings(deadline=None, max_examples=12)
@given(
    st.sampled_from([("binary", BINARY), ("classes", CLASSES), ("measured", MEASURED)]),
    st.integers(1, 3),
    st.integers(6, 40),
    st.lists(st.integers(1, 39), max_size=4),
    st.integers(0, 2**31),
)
def test_scores_are_those_of_all_samples_at_once(case, clients: int, samples: int, cuts: list[int], seed: int) -> None:
    kind, makers = case
    torch.manual_seed(seed)
    predictions, targets = draws(kind, clients, samples)
    metrics = MetricSums(makers)
    edges = [0, *sorted({cut for cut in cuts if cut < samples}), samples]
    parts = [metrics.sums(predictions[:, start:end], targets[start:end]) for start, end in pairwise(edges)]
    scores = metrics.scores({name: sum(part[name] for part in parts) for name in parts[0]})
    for name, make in makers.items():
        for client in range(clients):
            whole = make()
            whole.update(predictions[client], targets)
            torch.testing.assert_close(scores[name][client], whole.compute().double(), rtol=1e-5, atol=1e-5, msg=name)


def test_metrics_that_are_updated_alike_share_their_sums() -> None:
    sums = MetricSums(BINARY).sums(torch.rand(1, 9), torch.randint(2, (9,)))
    assert {name.partition(".")[0] for name in sums} == {"auroc", "f1", "strict_recall", "kappa"}


def test_what_a_client_s_samples_cannot_tell_is_not_a_number() -> None:
    metrics = MetricSums(BINARY)
    negative = metrics.scores(metrics.sums(torch.tensor([[0.1, 0.9]]), torch.tensor([0, 0])))
    assert negative["auroc"].isnan().all()
    assert negative["recall"].isnan().all()
    assert negative["f1"].tolist() == [0.0]  # one sample is wrongly called positive
    nothing = {name: torch.zeros_like(value) for name, value in metrics.sums(torch.rand(2, 3), torch.ones(3)).items()}
    assert all(score.isnan().all() for score in metrics.scores(nothing).values())


class Keeps(SumMetric):
    """A metric that gives two numbers."""

    def update(self, value, target) -> None:
        super().update(value)

    def compute(self) -> torch.Tensor:
        return torch.stack([self.sum_value, self.sum_value])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (classification.BinaryAUROC, r"keeps every sample \(preds, target\).*AUROC\(thresholds=200\)"),
        (lambda: classification.MulticlassAveragePrecision(3), r"MulticlassAveragePrecision\(thresholds=200\)"),
        (regression.SpearmanCorrCoef, "keeps every sample .* use R2Score"),
        (regression.PearsonCorrCoef, "not made of sums .* use R2Score"),
        (lambda: "auroc", "is a str, not a torchmetrics.Metric"),
        (lambda: 1 / 0, "making it raised ZeroDivisionError"),
    ],
)
def test_what_is_not_made_of_sums_is_refused(make, said: str) -> None:
    with pytest.raises(UsageError, match=f"metrics = mine: .*{said}"):
        MetricSums({"mine": make})


def test_a_metric_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="metrics = mine: its update raised"):
        MetricSums({"mine": classification.BinaryAccuracy}).sums(torch.rand(1, 3), torch.zeros(2))
    two = MetricSums({"mine": Keeps})
    with pytest.raises(UsageError, match=r"metrics = mine: gives \[2\] values, not one number"):
        two.scores(two.sums(torch.rand(1, 3), torch.zeros(3)))
