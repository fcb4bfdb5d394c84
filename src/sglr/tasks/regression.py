"""Measurements, one or several per sample: squared, absolute, Huber or quantile loss, and R² as the headline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.task import Sums, Targets, refuse_targets
from sglr.metrics.residuals import SHOWN, count_pairs, count_residuals, plot_edges, residual_quantile
from sglr.metrics.with_metrics import WithMetrics

if TYPE_CHECKING:
    from torchmetrics import Metric

__all__ = ["Regression"]

LOSSES = "mse, mae, huber:1.0 or quantile:0.1+0.5+0.9"


@dataclass(frozen=True)
class Regression(WithMetrics):
    """Measurements: the network predicts them in standard units, and scores are in the data's own.

    The loss of a sample is the mean over its T targets, each of z = (y - mean) / scale: so targets of different units
    weigh the same, and a learning rate that suits one data set suits another. The headline is R², scikit-learn's
    score of a regressor: errors in units can't be averaged over targets of different units, R² can.

    With several quantiles the network gives T · Q values, the quantiles of the first target first; the one nearest
    to 0.5 is the prediction that is scored.

    Raises
    ------
    UsageError
        If the loss is unknown, or a scale is not positive.
    """

    loss: str = field(
        default="mse",
        metadata={
            "help": "training loss: mse, mae, huber:DELTA or quantile:Q (several: quantile:0.1+0.5+0.9)",
            "basic": True,
            "clients": "take",
            "build": False,
        },
    )
    target_mean: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "what is subtracted from each target; empty: its mean, by the schema or over the training data",
            "clients": "take",
            "since": "0.2.0",
        },
    )
    target_scale: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "what each target is divided by then; empty: its standard deviation, likewise",
            "clients": "take",
            "since": "0.2.0",
        },
    )

    headline: ClassVar[str] = "r2"
    usual: ClassVar[tuple[str, ...]] = ("r2", "rmse", "mae")
    label_kind = "numbers"
    pooled: ClassVar[frozenset[str]] = frozenset({"pairs", "residuals"})

    def __post_init__(self) -> None:
        """Refuse a loss that there isn't, and scales that can't be divided by."""
        self._check_loss()
        if not all(map(math.isfinite, self.target_mean)):
            raise UsageError(
                "target_mean", ",".join(map(str, self.target_mean)), "a mean is not finite", "give numbers, such as 3.2"
            )
        if not all(math.isfinite(scale) and scale > 0 for scale in self.target_scale):
            raise UsageError(
                "target_scale",
                ",".join(map(str, self.target_scale)),
                "a scale is not above 0",
                "give numbers, such as 1.5",
            )

    def _check_loss(self) -> None:
        name, colon, given = self.loss.partition(":")
        if name not in ("mse", "mae", "huber", "quantile") or (colon and name in ("mse", "mae")):
            raise UsageError("loss", self.loss, "no such loss of regression", f"give {LOSSES}")
        if name == "huber" and not 0 < self._delta < math.inf:
            raise UsageError("loss", self.loss, "DELTA is no number above 0", "give such as huber:1.0")
        if name == "quantile" and not (colon and all(0 < share < 1 for share in self.quantiles)):
            problem = f"{given or 'nothing'} is no list of shares between 0 and 1"
            raise UsageError("loss", self.loss, problem, "give such as quantile:0.9, or quantile:0.1+0.5+0.9")

    @property
    def _delta(self) -> float:
        return _number(self.loss.partition(":")[2] or "1")

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantiles that the network predicts; none with another loss."""
        name, _, given = self.loss.partition(":")
        return tuple(map(_number, given.split("+"))) if name == "quantile" else ()

    def check(self, targets: Targets) -> None:
        """Refuse class numbers, targets that are images or series, and means or scales of another number of targets."""
        if targets.classes:
            problem = "regression needs measurements, and these are numbers of classes"
            raise refuse_targets("regression", targets, problem, "name another task, or give the targets as floats")
        if len(targets.shape) > 1:
            raise refuse_targets("regression", targets, "it takes one row of numbers per sample", "give [N] or [N, T]")
        for name in ("target_mean", "target_scale"):
            given = getattr(self, name)
            if given and len(given) != _width(targets):
                problem = f"there are {_width(targets)} targets"
                raise UsageError(name, ",".join(map(str, given)), problem, "give one number for each, in their order")

    def outputs(self, targets: Targets) -> int:
        """Return T, the number of targets, or T · Q with Q quantiles."""
        return _width(targets) * max(1, len(self.quantiles))

    def fitted(self, data: ClientData) -> Self:
        """Return the task with the means and standard deviations of the targets, where none are given.

        They are those that a schema states, or else of the clients' training data. A target that is the same everywhere
        keeps its unit.

        Raises
        ------
        UsageError
            If they are needed, no schema states them, and the data are at other sites.
        """
        if self.target_mean and self.target_scale:
            return self
        if data.targets.units:
            means, scales = zip(*data.targets.units, strict=True)
            return replace(self, target_mean=self.target_mean or means, target_scale=self.target_scale or scales)
        if not len(data.train):
            missing = "target_scale" if self.target_mean else "target_mean"
            problem = "the server does not have the sites' data to find it from"
            remedy = "give target_mean and target_scale (0 and 1 change nothing), or a schema"
            raise UsageError(missing, "none", problem, remedy)
        owned = _rows(data.train.targets[torch.cat(data.indices)].double())
        mean, scale = owned.mean(0), owned.std(0, correction=0)
        scale = torch.where(scale > 0, scale, 1.0)
        return replace(
            self,
            target_mean=self.target_mean or tuple(mean.tolist()),
            target_scale=self.target_scale or tuple(scale.tolist()),
        )

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of every sample ``[N]``, from outputs ``[N, T]`` or ``[N, T · Q]`` and targets ``[N(, T)]``.

        With z the target in standard units and ẑ the output: mse (ẑ - z)², mae abs(ẑ - z), huber (Huber, 1964)
        ½ (ẑ - z)² up to δ from z and δ (abs(ẑ - z) - ½ δ) beyond, quantile (pinball; Koenker and Bassett, 1978)
        max(q (z - ẑ), (q - 1) (z - ẑ)); each is the mean over targets and quantiles.
        """
        given = self._by_target(outputs)
        wanted = self._standard(targets, outputs.dtype).unsqueeze(-1).expand_as(given)
        return self._each(given, wanted).flatten(1).mean(1)

    def _each(self, given: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss of every output, ``[N, T, Q]``."""
        name = self.loss.partition(":")[0]
        if name == "quantile":
            return _pinball(given, wanted, given.new_tensor(self.quantiles))
        if name == "huber":
            return F.huber_loss(given, wanted, reduction="none", delta=self._delta)
        return F.l1_loss(given, wanted, reduction="none") if name == "mae" else (given - wanted).square()

    def _by_target(self, outputs: Tensor) -> Tensor:
        """Return outputs ``[..., T · Q]`` as ``[..., T, Q]``."""
        return torch.unflatten(outputs, -1, (-1, max(1, len(self.quantiles))))

    def _standard(self, targets: Tensor, dtype: torch.dtype) -> Tensor:
        """Return targets ``[N]`` or ``[N, T]`` in standard units, ``[N, T]``: never broadcast against outputs."""
        rows = _rows(targets).to(dtype)
        return (rows - rows.new_tensor(self.target_mean or (0.0,))) / self._scale(rows)

    def _scale(self, like: Tensor) -> Tensor:
        return like.new_tensor(self.target_scale or (1.0,))

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return sums of errors and targets in standard units, ``[n, T]``, and the bins of the residual plot.

        Parameters
        ----------
        outputs
            ``[n, m, T · Q]``.
        targets
            ``[m]`` or ``[m, T]``.
        """
        given, wanted = self._by_target(outputs).double(), self._standard(targets, torch.float64)
        predicted = given[..., self._middle]
        errors, clients = predicted - wanted, len(outputs)
        found = {
            "samples": wanted.new_full((clients,), len(wanted)),
            "absolute": errors.abs().sum(1),
            "squared": errors.square().sum(1),
            "targets": wanted.sum(0).repeat(clients, 1),
            "targets_squared": wanted.square().sum(0).repeat(clients, 1),
            "pairs": count_pairs(predicted, wanted.expand_as(predicted)),
            "residuals": count_residuals(errors),
        }
        found |= self.further_sums(wanted.shape[1], lambda: self._in_units(predicted, targets), targets)
        if not self.quantiles:
            return found
        wanted = wanted.unsqueeze(-1)
        pinball = _pinball(given, wanted, given.new_tensor(self.quantiles))
        return found | {"pinball": pinball.sum(1), "below": (wanted <= given).double().sum(1)}

    def _in_units(self, predicted: Tensor, targets: Tensor) -> Tensor:
        """Return predictions ``[n, m, T]`` in the data's units, ``[n, m]`` if targets are ``[m]``."""
        found = predicted * self._scale(predicted) + predicted.new_tensor(self.target_mean or (0.0,))
        return found.to(targets.dtype).view(len(predicted), *targets.shape)

    @property
    def _middle(self) -> int:
        """The place of the quantile that is the prediction."""
        distances = [abs(share - 0.5) for share in self.quantiles or (0.5,)]
        return distances.index(min(distances))

    def predictions(self, outputs: Tensor, targets: Targets) -> dict[str, Tensor | list[str]]:
        """Return each target's value in the data's units; with quantiles, each of them, named such as ``dose_q0.9``."""
        values = self._by_target(outputs)
        scale, mean = self._scale(values), values.new_tensor(self.target_mean or (0.0,))
        values = values * scale[:, None] + mean[:, None]
        names = _names(targets)
        endings = [f"_q{share:g}" for share in self.quantiles] or [""]
        return {
            f"{name}{ending}": values[:, place, of]
            for place, name in enumerate(names)
            for of, ending in enumerate(endings)
        }

    def scores(self, sums: Sums) -> dict[str, Tensor]:
        """Return R², RMSE and MAE of every client ``[n]``, the last two in the data's units.

        Of several targets R² is the mean of each one's, and errors are of all values together.
        """
        by_target = self._scores_by_target(sums)
        scores = {
            "r2": by_target["r2"].mean(1),
            "rmse": by_target["rmse"].square().mean(1).sqrt(),
            "mae": by_target["mae"].mean(1),
        }
        if self.quantiles:
            scores["pinball"] = by_target["pinball"].mean((1, 2))
        return scores | self.further_scores(sums["squared"].shape[1], sums)

    def known_metrics(self, outputs: int) -> Mapping[str, Callable[[], Metric]]:
        """Return errors in percent and in logarithms, and explained variance."""
        from torchmetrics import regression

        del outputs
        return {
            "explained_variance": regression.ExplainedVariance,
            "mape": regression.MeanAbsolutePercentageError,
            "smape": regression.SymmetricMeanAbsolutePercentageError,
            "weighted_mape": regression.WeightedMeanAbsolutePercentageError,
            "mean_squared_log_error": regression.MeanSquaredLogError,
        }

    def _scores_by_target(self, sums: Sums) -> dict[str, Tensor]:
        """Return the scores of every client and target, ``[n, T]``, and the pinball loss ``[n, T, Q]``."""
        samples, scale = sums["samples"].unsqueeze(1), self._scale(sums["squared"])
        spread = sums["targets_squared"] - sums["targets"].square() / samples
        # As scikit-learn has it: targets that are all the same are predicted rightly (1) or not (0).
        same = spread <= 1e-12 * sums["targets_squared"]
        right = (sums["squared"] == 0).double()
        found = {
            "r2": torch.where(same, right, 1 - sums["squared"] / torch.where(same, 1.0, spread)),
            "rmse": (sums["squared"] / samples).sqrt() * scale,
            "mae": sums["absolute"] / samples * scale,
        }
        if self.quantiles:
            found["pinball"] = sums["pinball"] / samples.unsqueeze(2) * scale.unsqueeze(-1)
            found["below"] = sums["below"] / samples.unsqueeze(2)
        return found

    def figures(self, sums: Sums, targets: Targets) -> dict[str, Any]:
        """Return ``residuals``, each target's plot over all clients, and ``per_target``, its scores as means over them.

        ``residuals`` of ``per_target`` are quantiles of predicted - true, and ``below`` is the share of targets at or
        below the predicted quantile. All are in the target's units.
        """
        by_target = {name: values.mean(0) for name, values in self._scores_by_target(sums).items()}
        names = _names(targets)
        return {
            "residuals": [self._plot(place, name, sums) for place, name in enumerate(names)],
            "per_target": [{"name": name, **self._told(place, by_target, sums)} for place, name in enumerate(names)],
        }

    def _plot(self, place: int, name: str, sums: Sums) -> dict[str, Any]:
        edges = plot_edges(*self._units(place))
        return {"name": name, "edges": edges, "counts": sums["pairs"][place].tolist()}

    def _told(self, place: int, by_target: Sums, sums: Sums) -> dict[str, Any]:
        _, scale = self._units(place)
        quantiles = {
            f"{share:g}": {name: float(by_target[name][place, number]) for name in ("pinball", "below")}
            for number, share in enumerate(self.quantiles)
        }
        return {
            **{name: float(by_target[name][place]) for name in ("r2", "rmse", "mae")},
            **({"quantiles": quantiles} if quantiles else {}),
            "residuals": {f"{share:g}": scale * residual_quantile(sums["residuals"][place], share) for share in SHOWN},
        }

    def _units(self, place: int) -> tuple[float, float]:
        """Return the mean and the scale of a target."""
        means, scales = self.target_mean or (0.0,), self.target_scale or (1.0,)
        return means[place % len(means)], scales[place % len(scales)]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _width(targets: Targets) -> int:
    return targets.shape[0] if targets.shape else 1


def _names(targets: Targets) -> tuple[str, ...]:
    unnamed = tuple(f"target {number}" for number in range(_width(targets)))
    return targets.names if len(targets.names) == len(unnamed) else unnamed


def _rows(targets: Tensor) -> Tensor:
    """Return targets ``[N]`` or ``[N, T]`` as ``[N, T]``."""
    return targets.unsqueeze(1) if targets.dim() == 1 else targets


def _pinball(given: Tensor, wanted: Tensor, shares: Tensor) -> Tensor:
    missing = wanted - given
    return torch.maximum(shares * missing, (shares - 1) * missing)
