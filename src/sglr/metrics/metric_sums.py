"""torchmetrics' metrics as sums over samples, so that batches, clients and messages can be cut anywhere.

A metric of torchmetrics keeps states. If all of them are added up over batches (``dist_reduce_fx="sum"``), the states
of any cut of the samples add up to those of all samples at once. A metric that keeps the samples themselves is refused:
they would have to be kept and sent.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.core.model import called, failed, shown
from sglr.core.task import Sums
from sglr.metrics.alike import updated_alike
from sglr.metrics.import_torchmetrics import import_torchmetrics
from sglr.metrics.tellable import tellable

if TYPE_CHECKING:  # else imported by who makes metrics: it takes a second, and classification needs none
    from torchmetrics import Metric

SUMMED = {
    "SpearmanCorrCoef": "R2Score",
    "KendallRankCorrCoef": "R2Score",
    "PearsonCorrCoef": "R2Score",
    "ConcordanceCorrCoef": "R2Score",
    "CosineSimilarity": "MeanSquaredError",
    "BinaryCalibrationError": "the task's own calibration_error, or a mean such as MeanSquaredError, the Brier score",
}
"""What can be used instead of a metric that keeps samples, beside those that take thresholds."""


class MetricSums:
    """Metrics of torchmetrics as sums over samples.

    Metrics that are updated alike, such as AUROC and average precision with equal thresholds, share their sums.

    Parameters
    ----------
    metrics
        What makes each metric, by the name of its score.

    Raises
    ------
    UsageError
        If one is no metric, can't be made, or is not made of sums; the remedy names one that is.
    """

    def __init__(self, metrics: Mapping[str, Callable[[], Metric]]) -> None:
        if metrics:
            import_torchmetrics()
        self._metrics = {name: _made(name, make) for name, make in metrics.items()}
        self._leaders: dict[str, str] = {}
        for name, metric in self._metrics.items():
            alike = (other for other in self._leaders.values() if updated_alike(self._metrics[other], metric))
            self._leaders[name] = next(alike, name)
        self._one_by_one: set[str] = set()
        self._checked = False

    def sums(self, predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return what the metrics add up over samples.

        Parameters
        ----------
        predictions
            Of m samples by n clients, ``[n, m, ...]``, as the metrics take them.
        targets
            Theirs, ``[m, ...]``.

        Returns
        -------
        dict of Tensor
            ``[n, ...]`` each, by ``"metric.state"``; int64 or float64.

        Raises
        ------
        UsageError
            If a metric doesn't take them.
        """
        found = {}
        # In double precision: variances are differences of large sums.
        predictions, targets = (each.double() if each.is_floating_point() else each for each in (predictions, targets))
        with torch.no_grad(), _quietly():
            for name in dict.fromkeys(self._leaders.values()):
                metric = self._metrics[name].to(predictions.device)
                rows = [self._updated(name, metric, row, targets) for row in predictions]
                found.update({f"{name}.{state}": torch.stack([row[state] for row in rows]) for state in rows[0]})
        self._checked = True
        return found

    def scores(self, sums: Sums) -> dict[str, Tensor]:
        """Return every metric of every client, float64 ``[n]``, by name.

        A client's score is NaN where its samples can't tell it: it has none, or AUROC where a class is absent. AUROC or
        average precision of several classes is the mean over those that can be told, if made with ``average="none"``.

        Raises
        ------
        UsageError
            If a metric gives more than one number.
        """
        with torch.no_grad(), _quietly():
            return {name: self._score(name, sums) for name in self._metrics}

    def _updated(self, name: str, metric: Metric, predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the states of a metric after one client's samples."""
        _set(metric, {state: zero.to(predictions.device, copy=True) for state, zero in _zeros(metric).items()})
        if self._checked and hasattr(metric, "validate_args"):
            metric.validate_args = False  # torchmetrics' checks of every value take longer than the update
        try:
            type(metric).update(metric, predictions, targets)
        except Exception as error:  # whatever a metric raises
            raise failed("metrics", name, f"its update raised {shown(error)}") from error
        return {state: _exact(getattr(metric, state)) for state in metric._defaults}

    def _score(self, name: str, sums: Sums) -> Tensor:
        leader, metric = self._leaders[name], self._metrics[name]
        states = {state: sums[f"{leader}.{state}"] for state in metric._defaults}
        metric.to(next(iter(states.values())).device)
        values, told = self._computed(name, metric, states), tellable(metric, states)
        if values.dim() == 2 and values.shape == told.shape:
            return values.masked_fill(~told, torch.nan).nanmean(1)
        if values.dim() != 1:
            problem = f"gives {list(values.shape[1:])} values, not one number"
            raise UsageError("metrics", name, problem, 'make it with average="macro", or one of its values alone')
        return values.masked_fill(~told.flatten(1).all(1) if told.dim() > 1 else ~told, torch.nan)

    def _computed(self, name: str, metric: Metric, states: dict[str, Tensor]) -> Tensor:
        """Return a metric of n clients, in one call if it can be had in one."""

        def of_one(own: dict[str, Tensor]) -> Tensor:
            _set(metric, own)
            try:
                return _number(name, type(metric).compute(metric))
            finally:  # a metric must not keep what vmap made for this call
                _set(metric, metric._defaults)

        if name not in self._one_by_one:
            try:
                return torch.func.vmap(of_one)(states)
            except Exception:  # it looks at values, which vmap refuses in several ways; the loop tells real errors
                self._one_by_one.add(name)
        rows = len(next(iter(states.values())))
        try:
            return torch.stack([of_one({state: value[row] for state, value in states.items()}) for row in range(rows)])
        except UsageError:
            raise
        except Exception as error:  # whatever a metric raises
            raise failed("metrics", name, f"its compute raised {shown(error)}") from error


def _made(name: str, make: Callable[[], Metric]) -> Metric:
    from torchmetrics import Metric

    with _quietly():
        metric = called("metrics", name, make, "making it")
    if not isinstance(metric, Metric):
        problem = f"is a {type(metric).__name__}, not a torchmetrics.Metric"
        raise UsageError("metrics", name, problem, "name a class of torchmetrics, or one that derives from its Metric")
    _require_sums(name, metric)
    return metric


def _require_sums(name: str, metric: Metric) -> None:
    from torchmetrics.utilities import dim_zero_sum

    kept = [state for state, zero in metric._defaults.items() if isinstance(zero, list)]
    others = [state for state, reduction in metric._reductions.items() if reduction is not dim_zero_sum]
    if kept:
        problem = f"keeps every sample ({', '.join(kept)}), and scores are made of sums over samples"
        raise UsageError("metrics", name, problem, _remedy(metric))
    if others or not metric._defaults or any(bool(zero.any()) for zero in _zeros(metric).values()):
        problem = f"is not made of sums over samples (states: {', '.join(others) or 'none'})"
        raise UsageError("metrics", name, problem, _remedy(metric))


def _remedy(metric: Metric) -> str:
    kind = type(metric).__name__
    if hasattr(metric, "thresholds"):
        return f"use {kind.removeprefix('Binary')}(thresholds=200)"
    instead = SUMMED.get(kind, 'a metric whose states all have dist_reduce_fx="sum", such as Accuracy or R2Score')
    return f"use {instead}"


def _zeros(metric: Metric) -> dict[str, Tensor]:
    return {state: zero for state, zero in metric._defaults.items() if isinstance(zero, Tensor)}


def _set(metric: Metric, states: Mapping[str, Any]) -> None:
    for state, value in states.items():
        setattr(metric, state, value)


def _number(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        problem = f"gives a {type(value).__name__}, not one number"
        raise UsageError("metrics", name, problem, "use a metric that gives one number")
    return value.double().squeeze()


def _exact(state: Tensor) -> Tensor:
    """Return a copy of a sum in a type in which many can be added up; counts stay whole."""
    return state.double() if state.is_floating_point() else state.long()


@contextmanager
def _quietly() -> Iterator[None]:
    """Drop what torchmetrics warns of, such as samples of one class: scores say it as NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
