"""A task with further metrics, by name or the user's own: the one place of the parameter ``metrics``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from sglr.core.errors import UsageError, unknown
from sglr.core.model import own_function
from sglr.core.task import Sums, Targets, Task
from sglr.metrics.import_torchmetrics import import_torchmetrics
from sglr.metrics.metric_sums import MetricSums

if TYPE_CHECKING:
    from torchmetrics import Metric

THRESHOLDS = 200
"""What the user's own metrics are given as ``thresholds``: without them, torchmetrics keeps every sample."""


@dataclass(frozen=True)
class WithMetrics(Task):
    """A task that has further metrics.

    A task adds `further_sums` to its sums and `further_scores` to its scores.

    Attributes
    ----------
    usual
        Names of the scores that the task always has, the headline first.
    """

    usual: ClassVar[tuple[str, ...]]

    metrics: tuple[str, ...] = field(
        default=(),
        kw_only=True,
        metadata={
            "help": "further scores, by name or as package.module:Name, a metric of torchmetrics made of sums",
            "clients": "take",
            "build": False,
            "since": "0.2.0",
        },
    )

    def known_metrics(self, outputs: int) -> Mapping[str, Callable[[], Metric]]:
        """Return what makes the metrics that can be named, for a network of K outputs; by default, none."""
        del outputs
        return {}

    def metric_arguments(self, outputs: int) -> dict[str, Any]:
        """Return what the user's own metric is made with, as far as it takes it, such as ``num_classes``."""
        del outputs
        return {}

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of all scores, the headline first."""
        return (*self.usual, *(_score_name(name) for name in self.metrics if name not in self.usual))

    def further_sums(self, outputs: int, predicted: Callable[[], Tensor], targets: Tensor) -> dict[str, Tensor]:
        """Return the sums of the further metrics.

        Parameters
        ----------
        outputs
            K, what `Task.outputs` gives.
        predicted
            Gives the predictions of n clients ``[n, m, ...]`` as metrics of torchmetrics take them; not called where
            there are no further metrics.
        targets
            The same, ``[m, ...]``.
        """
        return _further(self, outputs).sums(predicted(), targets) if self.metrics else {}

    def further_scores(self, outputs: int, sums: Sums) -> dict[str, Tensor]:
        """Return the further metrics of every client ``[n]`` by name, of a network of K outputs."""
        return _further(self, outputs).scores(sums) if self.metrics else {}

    def check_metrics(self, targets: Targets, folder: Path | None = None) -> None:
        """Find the further metrics, and try them on two made-up samples.

        Parameters
        ----------
        targets
            What the task learns.
        folder
            The run folder that names the metrics, if the user does not: only installed code is imported then.

        Raises
        ------
        UsageError
            If there is no such metric, its code is not installed where it must be, it is not made of sums, it gives
            more than one number, or doesn't take what the task predicts.
        """
        if self.metrics:
            import_torchmetrics()
        for name in self.metrics:
            if ":" in name:
                own_function("metrics", name, folder)
        if self.metrics:
            outputs = torch.zeros(1, 2, *self.output_shape(targets))
            self.scores(self.sums(outputs, torch.zeros(2, *targets.shape, dtype=targets.torch_dtype)))


@lru_cache(maxsize=64)
def _further(task: WithMetrics, outputs: int) -> MetricSums:
    wanted = [name for name in task.metrics if name not in task.usual]
    if not wanted:
        return MetricSums({})
    import_torchmetrics()
    known = task.known_metrics(outputs)
    found: dict[str, Callable[[], Metric]] = {}
    for name in wanted:
        if ":" not in name and name not in known:
            raise unknown("metrics", name, [*task.usual, *known])
        if _score_name(name) in {*task.usual, *found}:
            raise UsageError("metrics", name, "two scores would have this name", "name each metric once")
        found[_score_name(name)] = known[name] if name in known else partial(_own, name, task.metric_arguments(outputs))
    return MetricSums(found)


def _own(spec: str, arguments: dict[str, Any]) -> Any:
    make = own_function("metrics", spec, None)
    taken = inspect.signature(make).parameters
    offered = {"thresholds": THRESHOLDS, **arguments}
    return make(**{name: value for name, value in offered.items() if name in taken})


def _score_name(name: str) -> str:
    return name.rpartition(":")[2]
