"""A plan: what an epoch costs with every method, which is cheapest, where that changes, and which cut is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from sglr.planner.costs import BYTES_PER_MB, MEASURES, VIEWS, MethodCost, Scenario, ViewCost, method_costs
from sglr.planner.crossovers import Crossover, crossovers

if TYPE_CHECKING:
    from sglr.planner.cuts import Cut

SPLIT = "sglr"
"""The method by which cuts are ranked."""

_SAME = 1e-12


@dataclass(frozen=True)
class CutCost:
    """What an epoch costs when a model is cut at one place.

    Parameters
    ----------
    cut
        The cut with its sizes.
    methods
        The costs by method.
    efficient
        Whether no other cut sends less and lets a client compute less at the same time (SGLR, as the paper counts).
    """

    cut: Cut
    methods: Mapping[str, MethodCost]
    efficient: bool


@dataclass(frozen=True)
class CostPlan:
    """All that `sglr plan` tells.

    Parameters
    ----------
    scenario
        What it was computed from.
    methods
        The costs by method, in the order of Table 6.
    crossovers
        Where one method becomes cheaper than another.
    cut
        The name of the cut, or None if sizes were given by hand.
    cuts
        All cuts of the model in the order of execution; empty if sizes were given by hand.
    target_bytes
        Bytes of one sample's target; None where the task was not named.
    lora
        The adapters that are trained instead of the network; None for none.
    batch
        Samples of one client in one step, for what a client holds.
    """

    scenario: Scenario
    methods: Mapping[str, MethodCost]
    crossovers: tuple[Crossover, ...]
    cut: str | None = None
    cuts: tuple[CutCost, ...] = ()
    target_bytes: int | None = None
    lora: str | None = None
    batch: int = 8

    @property
    def targets_mb(self) -> float | None:
        """What the targets of an epoch add to what split methods send, in MB; None where the task was not named."""
        return None if self.target_bytes is None else self.target_bytes * self.scenario.sizes.samples / BYTES_PER_MB

    def saving(self, method: str, other: str, view: str = "paper") -> float:
        """Return the share (at most 1) of what ``other`` sends that ``method`` saves; below 0 it sends more."""
        return 1 - self.methods[method].views[view].total_mb / self.methods[other].views[view].total_mb

    @property
    def cheapest(self) -> dict[str, list[str]]:
        """The cheapest methods by measure; several where they cost the same."""
        return _ranked(self.methods)

    @property
    def best_cuts(self) -> dict[str, list[str]]:
        """The cuts with which SGLR costs least by measure; several where they cost the same."""
        return _ranked({entry.cut.name: entry.methods[SPLIT] for entry in self.cuts})

    def over_links(self, method: str) -> ViewCost:
        """Return what all send with a method, and its seconds, with a link for each client."""
        return self.methods[method].views["point_to_point"]

    def record(self) -> dict[str, Any]:
        """Return the plan as JSON. MB are 10⁶ bytes; without prefix, numbers are of one epoch."""
        given = self.scenario
        pairs = [("sglr", "sfl"), ("sglr", "fl"), ("sglr", "psl")]
        return {
            "clients": given.sizes.clients,
            "samples": given.sizes.samples,
            "phi": given.phi,
            "cut": self.cut,
            "cut_mb": given.sizes.cut,
            "model_mb": given.sizes.model,
            "client_mb": given.sizes.client,
            "beside_mb": given.sizes.beside,
            "lora": self.lora,
            "batch_size": self.batch,
            "targets_mb": self.targets_mb,
            "rate_mb_per_second": given.rate,
            "flops_per_second": {"client": given.flops_rate, "server": given.server_flops_rate},
            "energy_profile": None if given.profile is None else asdict(given.profile),
            "methods": {name: cost.record() for name, cost in self.methods.items()},
            "savings": {f"{one}_vs_{other}": self.saving(one, other) for one, other in pairs},
            "savings_by_view": {
                view: {f"{one}_vs_{other}": self.saving(one, other, view) for one, other in pairs} for view in VIEWS
            },
            "cheapest": self.cheapest,
            "crossovers": [asdict(crossover) for crossover in self.crossovers],
            "cuts": [self._cut_record(entry) for entry in self.cuts],
            "best_cuts": self.best_cuts,
        }

    def _cut_record(self, entry: CutCost) -> dict[str, Any]:
        cut = entry.cut
        return {
            "cut": cut.name,
            "smashed_shape": list(cut.smashed_shape),
            "crosses": [asdict(value) for value in cut.crosses],
            "cut_mb": cut.cut_mb,
            "beside_mb": cut.beside_mb,
            "client_mb": cut.client_mb,
            "frozen_mb": cut.frozen_mb,
            "memory_mb": cut.memory.bytes(self.batch) / BYTES_PER_MB,
            "efficient": entry.efficient,
            "methods": {name: cost.record() for name, cost in entry.methods.items()},
        }


def make_plan(
    scenario: Scenario, cut: str | None = None, cuts: Sequence[Cut] = (), target_bytes: int | None = None
) -> CostPlan:
    """Compute a plan.

    Parameters
    ----------
    scenario
        The sizes, rates and operations, those of the chosen cut if there is a model.
    cut
        The name of that cut.
    cuts
        All cuts of the model, each to be costed in the same scenario.
    target_bytes
        Bytes of one sample's target, if the task was named.
    """
    costed = [(entry, method_costs(at_cut(scenario, entry))) for entry in cuts]
    points = [(costs[SPLIT].views["paper"].total_mb, costs[SPLIT].client_flops or 0.0) for _, costs in costed]
    found = (CutCost(entry, costs, not _beaten(at, points)) for (entry, costs), at in zip(costed, points, strict=True))
    return CostPlan(scenario, method_costs(scenario), tuple(crossovers(scenario)), cut, tuple(found), target_bytes)


def at_cut(scenario: Scenario, cut: Cut) -> Scenario:
    """Return the scenario with a model's sizes and operations at a cut."""
    sizes = replace(scenario.sizes, cut=cut.cut_mb, model=cut.model_mb, client=cut.client_mb, beside=cut.beside_mb)
    return replace(scenario, sizes=sizes, work=cut.work)


def _ranked(costs: Mapping[str, MethodCost]) -> dict[str, list[str]]:
    """Return the cheapest methods by measure, for measures that are known."""
    ranked = {}
    for measure in MEASURES:
        values = {name: value for name, cost in costs.items() if (value := cost.measure(measure)) is not None}
        if values:
            least = min(values.values())
            ranked[measure] = [name for name, value in values.items() if value <= least * (1 + _SAME)]
    return ranked


def _beaten(point: tuple[float, float], points: Sequence[tuple[float, float]]) -> bool:
    return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)
