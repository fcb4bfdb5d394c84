"""What an epoch costs where clients are cut at several places: each group's cut by itself, and all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from sglr.cost.closed_forms import broadcast, point_to_point
from sglr.planner.costs import BYTES_PER_MB, Scenario

if TYPE_CHECKING:
    from sglr.planner.cuts import Cut

METHODS = ("psl", "sfl", "sglr")
"""Methods that a plan of several cuts has: all of Table 6 that have a cut."""

VIEWS = {"broadcast": broadcast, "point_to_point": point_to_point}
"""The counts; Table 6 itself is for clients that are all cut at one place."""


@dataclass(frozen=True)
class CutGroup:
    """The clients of one cut.

    Parameters
    ----------
    cut
        The cut with its sizes.
    clients
        Who they are.
    scenario
        Of these clients and their samples alone; its φ is the share of them that is active, a whole number.
    """

    cut: Cut
    clients: tuple[int, ...]
    scenario: Scenario

    @property
    def client_flops(self) -> float:
        """Operations of one of them in an epoch, forward and backward."""
        return self.scenario.client_flops("psl") or 0.0

    def sent_mb(self, method: str, view: str) -> float:
        """Return what they and the server send each other in an epoch, in MB."""
        return VIEWS[view](method, self.scenario.sizes, self.scenario.phi).total


@dataclass(frozen=True)
class SentByAll:
    """What an epoch sends with one method, in MB, and its seconds, by view."""

    total_mb: float
    seconds: float


@dataclass(frozen=True)
class PlanOfCuts:
    """All that `sglr plan --cuts` tells.

    Parameters
    ----------
    scenario
        Clients, samples and rates of all.
    groups
        The clients of each cut, from the cut nearest to the input.
    target_bytes
        Bytes of one sample's target; None where the task was not named.
    lora
        The adapters that are trained instead of the network; None for none.
    batch
        Samples of one client in one step, for what a client holds.
    """

    scenario: Scenario
    groups: tuple[CutGroup, ...]
    target_bytes: int | None
    lora: str | None
    batch: int

    @property
    def compute_seconds(self) -> float:
        """T: clients compute at the same time, then the server; what has no rate takes no time here."""
        slowest = max(group.client_flops for group in self.groups)
        parts = (slowest, self.scenario.flops_rate), (self.server_flops, self.scenario.server_flops_rate)
        return sum((flops / rate for flops, rate in parts if rate is not None), 0.0)

    @property
    def server_flops(self) -> float:
        """Operations of the server in an epoch."""
        return sum(group.scenario.server_flops("psl") or 0.0 for group in self.groups)

    @property
    def targets_mb(self) -> float | None:
        """What the targets of an epoch add, in MB; None where the task was not named."""
        return None if self.target_bytes is None else self.target_bytes * self.scenario.sizes.samples / BYTES_PER_MB

    def sent(self, method: str, view: str) -> SentByAll:
        """Return what all send with a method: one medium carries it in turn, links of their own at the same time."""
        each = [group.sent_mb(method, view) for group in self.groups]
        links = [sent / len(group.clients) for sent, group in zip(each, self.groups, strict=True)]
        in_turn = max(links) if view == "point_to_point" else sum(each)
        return SentByAll(sum(each), self.compute_seconds + in_turn / self.scenario.rate)

    def over_links(self, method: str) -> SentByAll:
        """Return what all send with a method, and its seconds, with a link for each client."""
        return self.sent(method, "point_to_point")

    def record(self) -> dict[str, Any]:
        """Return the plan as JSON. MB are 10⁶ bytes; without prefix, numbers are of one epoch."""
        given = self.scenario
        return {
            "clients": given.sizes.clients,
            "samples": given.sizes.samples,
            "phi": given.phi,
            "model_mb": given.sizes.model,
            "lora": self.lora,
            "batch_size": self.batch,
            "targets_mb": self.targets_mb,
            "rate_mb_per_second": given.rate,
            "flops_per_second": {"client": given.flops_rate, "server": given.server_flops_rate},
            "server_flops": self.server_flops,
            "methods": {method: {view: asdict(self.sent(method, view)) for view in VIEWS} for method in METHODS},
            "groups": [self._group_record(group) for group in self.groups],
        }

    def _group_record(self, group: CutGroup) -> dict[str, Any]:
        cut = group.cut
        return {
            "cut": cut.name,
            "clients": list(group.clients),
            "samples": group.scenario.sizes.samples,
            "smashed_shape": list(cut.smashed_shape),
            "crosses": [asdict(value) for value in cut.crosses],
            "cut_mb": cut.cut_mb,
            "beside_mb": cut.beside_mb,
            "client_mb": cut.client_mb,
            "frozen_mb": cut.frozen_mb,
            "memory_mb": cut.memory.bytes(self.batch) / BYTES_PER_MB,
            "client_flops": group.client_flops,
            "methods": {method: {f"{view}_mb": group.sent_mb(method, view) for view in VIEWS} for method in METHODS},
        }


def plan_of_cuts(scenario: Scenario, cuts: Sequence[Cut], places: Sequence[int], **about: Any) -> PlanOfCuts:
    """Compute a plan.

    Parameters
    ----------
    scenario
        Clients, samples and rates of all; samples are spread evenly, the first clients have one more of what is left.
    cuts
        The cuts, from the one nearest to the input.
    places
        The number of each client's cut.
    about
        ``target_bytes``, ``lora`` and ``batch`` of the plan.
    """
    groups = []
    for number, cut in enumerate(cuts):
        clients = tuple(client for client, place in enumerate(places) if place == number)
        groups.append(CutGroup(cut, clients, _of_group(scenario, cut, clients)))
    return PlanOfCuts(scenario, tuple(groups), **about)


def _of_group(scenario: Scenario, cut: Cut, clients: tuple[int, ...]) -> Scenario:
    each, more = divmod(scenario.sizes.samples, scenario.sizes.clients)
    samples = sum(each + (client < more) for client in clients)
    sizes = replace(
        scenario.sizes,
        clients=len(clients),
        samples=samples,
        cut=cut.cut_mb,
        client=cut.client_mb,
        beside=cut.beside_mb,
    )
    active = int(scenario.phi * len(clients) + 0.5)  # as SplitAvg draws them
    return replace(scenario, sizes=sizes, phi=active / len(clients), work=cut.work)
