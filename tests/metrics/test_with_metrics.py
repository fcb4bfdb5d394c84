"""Further metrics of a task, by name or the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import BinaryCohenKappa

from sglr.assembly.task import build_task, recorded_task
from sglr.core.data import ClientData, Samples
from sglr.core.errors import UsageError
from sglr.core.task import Sums, Targets
from sglr.metrics.with_metrics import WithMetrics
from sglr.runs.config import Experiment


@dataclass(frozen=True)
class Coin(WithMetrics):
    """Whether a sample is 1, from its probability."""

    headline: ClassVar[str] = "share"
    usual: ClassVar[tuple[str, ...]] = ("share",)

    def check(self, targets: Targets) -> None: ...

    def outputs(self, targets: Targets) -> int:
        return 1

    def known_metrics(self, outputs: int) -> Mapping[str, Callable[[], Metric]]:
        return {"kappa": BinaryCohenKappa}

    def metric_arguments(self, outputs: int) -> dict[str, Any]:
        return {"task": "binary"}

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.squeeze(-1)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        chances = outputs.squeeze(-1)
        own = {"right": ((chances > 0.5) == targets).sum(1), "count": torch.full((len(chances),), chances.shape[1])}
        return own | self.further_sums(1, lambda: chances, targets)

    def scores(self, sums: Sums) -> dict[str, Tensor]:
        return {"share": sums["right"] / sums["count"]} | self.further_scores(1, sums)


FINDINGS = Targets(("no", "yes"), classes=2)


def test_metrics_are_found_by_name_and_as_the_user_s_own() -> None:
    task = Coin(metrics=("share", "kappa", "torchmetrics:AUROC", "torchmetrics.classification:BinaryF1Score"))
    task.check_metrics(FINDINGS)
    outputs, targets = torch.tensor([[[0.2], [0.9], [0.6], [0.1]]]), torch.tensor([0, 1, 0, 0])
    scores = task.scores(task.sums(outputs, targets))
    assert tuple(scores) == task.score_names == ("share", "kappa", "AUROC", "BinaryF1Score")
    assert {name: score.item() for name, score in scores.items()} == pytest.approx(
        {"share": 0.75, "kappa": 0.5, "AUROC": 1.0, "BinaryF1Score": 2 / 3}
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("kapa", "no such metrics; did you mean 'kappa'"),
        ("torchmetrics:MeanMetricc", "did you mean"),
        ("no_such_module:Metric", "no module 'no_such_module'"),
        ("torchmetrics:SpearmanCorrCoef", "keeps every sample"),
        ("torchmetrics.classification:MulticlassF1Score", "making it raised"),
        ("torchmetrics.classification:MultilabelRecall", "making it raised"),
        ("torch:zeros", "making it raised"),
    ],
)
def test_a_metric_that_cannot_be_had_is_refused_before_training(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"^metrics = .*{said}"):
        Coin(metrics=(name,)).check_metrics(FINDINGS)


def test_two_metrics_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="two scores would have this name"):
        Coin(metrics=("kappa", "kappa")).check_metrics(FINDINGS)


def test_who_names_a_run_s_model_names_not_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_strange_metric.py").write_text("from torchmetrics.classification import MulticlassRecall as M\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    samples = Samples(torch.zeros(2, 3), torch.tensor([0, 1]))
    data = ClientData(samples, (torch.arange(2),), None, samples, FINDINGS)
    experiment = Experiment.from_flat({"metrics": "kappa,half_strange_metric:M"})
    with pytest.raises(UsageError, match="name it yourself: --metrics half_strange_metric:M"):
        build_task(experiment.read_from(tmp_path, ["model"]), data)
    with pytest.raises(UsageError, match="metrics = x:Y: the run's metrics is half_strange_metric:M"):
        experiment.require("metrics", ("x:Y",))
    experiment.require("metrics", ("half_strange_metric:M",))
    build_task(experiment.read_from(tmp_path, ["model", "metrics"]), data)
    used = recorded_task(experiment.read_from(tmp_path), {"loss": "focal"}, None)
    assert isinstance(used, WithMetrics)
    assert used.metrics == ("kappa",)


def test_a_stranger_s_folder_names_installed_code_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "strange_metric.py").write_text("open('ran', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match=r"not installed; if you trust it, name it yourself: --metrics strange_metric:M"
    ):
        Coin(metrics=("strange_metric:M",)).check_metrics(FINDINGS, tmp_path)
    assert not (tmp_path / "ran").exists()
    Coin(metrics=("torchmetrics:AUROC",)).check_metrics(FINDINGS, tmp_path)
