"""Several findings: losses by hand, what is not known left out, scores of all samples however they are cut."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional import classification

from sglr.core.data import ClientData, Samples
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.metrics.curves import thresholds_with
from sglr.tasks.multilabel import Multilabel

LUNGS = Targets(("nodule", "effusion", "mass"), (3,), "int64", classes=2)


def sure(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_losses_by_hand() -> None:
    outputs = torch.tensor([[sure(0.9), sure(0.4), 5.0], [0.0, 0.0, 0.0]])
    targets = torch.tensor([[1, 0, -1], [-1, -1, -1]])
    first, second = -math.log(0.9), -math.log(0.6)
    assert Multilabel().losses(outputs, targets).tolist() == pytest.approx([(first + second) / 2, 0], rel=1e-5)
    weighted = Multilabel(positive_weight=("4", "2", "1"))
    assert weighted.losses(outputs, targets).tolist() == pytest.approx([(4 * first + second) / 2, 0], rel=1e-5)
    focal = (0.1 * first + 0.4 * second) / 2
    assert Multilabel(loss="focal:1").losses(outputs, targets).tolist() == pytest.approx([focal, 0], rel=1e-5)
    assert Multilabel().hits(outputs, targets).tolist() == [1, 0]


def between_thresholds(*shape: int) -> torch.Tensor:
    """Logits halfway between two thresholds: those that the thresholds don't tell apart are equal."""
    grid = torch.tensor(thresholds_with())
    return ((grid[1:] + grid[:-1]) / 2)[torch.randint(50, 150, shape)]


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 3), st.integers(3, 30), st.lists(st.integers(1, 29), max_size=3), st.integers(0, 2**31))
def test_scores_are_torchmetrics_of_all_samples_at_once(clients, samples, cuts, seed) -> None:
    torch.manual_seed(seed)
    outputs, targets = between_thresholds(clients, samples, 3), torch.randint(2, (samples, 3))
    targets[torch.rand(samples, 3) < 0.1] = -1
    targets[:2] = torch.tensor([[0, 1, 1], [1, 0, 0]])
    task = Multilabel(metrics=("specificity", "torchmetrics.classification:MultilabelHammingDistance"))
    edges = [0, *sorted({cut for cut in cuts if cut < samples}), samples]
    parts = [task.sums(outputs[:, start:end], targets[start:end]) for start, end in pairwise(edges)]
    sums = {name: sum(part[name] for part in parts) for name in parts[0]}
    scores = task.scores(sums)
    assert tuple(scores) == task.score_names
    known = targets >= 0
    for client in range(clients):
        chances = outputs[client].sigmoid()
        options = {"num_labels": 3, "ignore_index": -1}
        wanted = {
            "f1": classification.multilabel_f1_score(chances, targets, **options),
            "recall": classification.multilabel_recall(chances, targets, **options),
            "specificity": classification.multilabel_specificity(chances, targets, **options),
            "accuracy": classification.binary_accuracy(chances[known], targets[known]),
            "brier": (chances[known] - targets[known]).square().mean(),
            "calibration_error": classification.binary_calibration_error(chances[known], targets[known], n_bins=15),
            "MultilabelHammingDistance": classification.multilabel_hamming_distance(chances, targets, **options),
            "exact_match": (((chances > 0.5) == (targets == 1)) | ~known).all(1).double().mean(),
            "auroc": classification.multilabel_auroc(chances, targets, **options),
        }
        for name, value in wanted.items():
            assert float(scores[name][client]) == pytest.approx(float(value), abs=1e-5), name
        right = float((task.hits(outputs[client], targets) * known.sum(1)).sum() / known.sum())
        assert right == pytest.approx(float(scores["accuracy"][client]))


def test_means_are_over_findings_that_samples_can_tell() -> None:
    outputs = torch.tensor([[[2.0, 1.0, 0.3], [-1.0, 2.0, 0.2], [3.0, -1.0, 0.1]]])
    targets = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0]])  # nobody has the third
    sums = Multilabel().sums(outputs, targets)
    assert Multilabel().scores(sums)["auroc"].tolist() == [1.0]
    assert Multilabel().scores(sums)["recall"].tolist() == [1.0]
    figures = Multilabel().figures(sums, LUNGS)
    assert figures["per_label"] == [
        {"name": "nodule", "auroc": 1.0, "average_precision": 1.0, "support": 2},
        {"name": "effusion", "auroc": 1.0, "average_precision": 1.0, "support": 1},
        {"name": "mass", "auroc": None, "average_precision": None, "support": 0},
    ]
    assert [curve["name"] for curve in figures["roc"]] == ["nodule", "effusion"]
    unknown = Multilabel().sums(outputs, torch.full((3, 3), -1))
    told = {name for name, score in Multilabel().scores(unknown).items() if not score.isnan().all()}
    assert told == {"exact_match"}


def test_balanced_weights_are_of_each_finding() -> None:
    train = Samples(torch.zeros(4, 1), torch.tensor([[1, 0], [0, 0], [0, 1], [0, -1]]))
    data = ClientData(train, (torch.arange(4),), None, train, Targets((), (2,), "int64", 2))
    assert Multilabel(positive_weight=("balanced",)).fitted(data).positive_weight == ("3", "2")


def test_targets_that_do_not_fit_are_refused() -> None:
    for targets, said in {
        Targets.of_classes(("a", "b")): "use --task classification",
        Targets(shape=(4,), dtype="float32"): "use --task regression",
        Targets(shape=(8, 8), dtype="uint8", classes=2): "use --task segmentation",
    }.items():
        with pytest.raises(UsageError, match=f"task = multilabel: .*{said}"):
            Multilabel().check(targets)
    Multilabel(positive_weight=("1", "2", "3")).check(LUNGS)
    with pytest.raises(UsageError, match="positive_weight = 1,2: each sample has 3 of them"):
        Multilabel(positive_weight=("1", "2")).check(LUNGS)
