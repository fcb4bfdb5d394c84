"""Every task has further metrics, which are sums over samples, too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics.functional import classification

from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.metrics.with_metrics import WithMetrics
from sglr.tasks.binary import Binary
from sglr.tasks.classification import Classification
from sglr.tasks.language import Language
from sglr.tasks.multilabel import Multilabel
from sglr.tasks.ordinal import Ordinal
from sglr.tasks.regression import Regression
from sglr.tasks.segmentation import Segmentation

GRADES = Targets.of_classes(("0", "1", "2", "3"))
CASES: list[tuple[WithMetrics, Targets, str]] = [
    (Classification(), GRADES, "torchmetrics:F1Score"),
    (Binary(threshold=0.3), Targets.of_classes(("no", "yes")), "torchmetrics.classification:BinaryHammingDistance"),
    (Multilabel(), Targets(shape=(3,), classes=2), "torchmetrics:StatScores"),
    (Ordinal(), GRADES, "torchmetrics:F1Score"),
    (Regression(target_mean=(2.0,), target_scale=(0.5,)), Targets(dtype="float32"), "torchmetrics:R2Score"),
    (Regression(), Targets(shape=(2,), dtype="float32"), "torchmetrics:MeanSquaredError"),
    (
        Segmentation(ignore_index=255),
        Targets(shape=(4, 4), dtype="uint8", classes=3),
        "torchmetrics.classification:MulticlassJaccardIndex",
    ),
    (Segmentation(), Targets(shape=(1, 4, 4), dtype="uint8", classes=3), "torchmetrics.segmentation:MeanIoU"),
    (Language(pad=0), Targets(shape=(5,), classes=7), "torchmetrics.aggregation:SumMetric"),
]


def draws(task: WithMetrics, targets: Targets) -> tuple[Tensor, Tensor]:
    """Outputs of 2 clients for 12 samples, and targets."""
    outputs = torch.randn(2, 12, *task.output_shape(targets))
    if not targets.classes:
        return outputs, torch.rand(12, *targets.shape)
    return outputs, torch.randint(targets.classes, (12, *targets.shape)).to(targets.torch_dtype)


@pytest.mark.parametrize(("task", "targets", "own"), CASES, ids=lambda case: type(case).__name__)
def test_further_metrics_add_up(task: WithMetrics, targets: Targets, own: str) -> None:
    torch.manual_seed(1)
    known = tuple(task.known_metrics(task.outputs(targets)))
    # A metric that is not of this kind shows below that its error is a sentence.
    unfit = own in ("torchmetrics:StatScores", "torchmetrics.aggregation:SumMetric")
    measured = type(task)(**{**vars(task), "metrics": known if unfit else (*known, own)})
    measured.check_metrics(targets)
    outputs, wanted = draws(measured, targets)
    if unfit:
        with pytest.raises(UsageError, match="metrics = "):
            type(task)(**{**vars(task), "metrics": (own,)}).check_metrics(targets)
    whole = measured.scores(measured.sums(outputs, wanted))
    parts = [measured.sums(outputs[:, places], wanted[places]) for places in (slice(0, 5), slice(5, 12))]
    added = measured.scores({name: parts[0][name] + parts[1][name] for name in parts[0]})
    assert tuple(whole) == measured.score_names
    for name, score in whole.items():
        assert score.shape == (2,)
        torch.testing.assert_close(added[name].double(), score.double(), msg=name, equal_nan=True)
    plain = task.scores(task.sums(outputs, wanted))
    assert tuple(plain) == task.score_names == tuple(whole)[: len(plain)]


def test_rankings_of_classes_and_their_calibration() -> None:
    torch.manual_seed(2)
    task = Classification(metrics=("auroc", "calibration_error", "top2_accuracy"))
    outputs, wanted = 2 * torch.randn(1, 60, 4), torch.randint(3, (60,))  # nobody is of the last class
    scores = {name: float(score) for name, score in task.scores(task.sums(outputs, wanted)).items()}
    chances = outputs[0].softmax(1)
    each = [classification.binary_auroc(chances[:, place], wanted == place, thresholds=200) for place in range(3)]
    assert scores["auroc"] == pytest.approx(float(torch.stack(each).mean()))
    error = classification.multiclass_calibration_error(chances, wanted, num_classes=4, n_bins=15)
    assert scores["calibration_error"] == pytest.approx(float(error), abs=1e-6)
    ranked = (chances.topk(2).indices == wanted[:, None]).any(1)
    assert scores["top2_accuracy"] == pytest.approx(float(ranked.double().mean()))


def test_errors_are_in_the_units_of_the_data() -> None:
    task = Regression(target_mean=(10.0,), target_scale=(2.0,), metrics=("mape",))
    scores = task.scores(task.sums(torch.tensor([[[0.0], [1.0]]]), torch.tensor([8.0, 10.0])))
    assert scores["mape"].tolist() == pytest.approx([(2 / 8 + 2 / 10) / 2])
