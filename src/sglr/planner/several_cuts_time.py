"""The time of an epoch where clients are cut at several places: that of the slowest path of a step.

All clients have links of rate R with a round trip ρ, and each b samples in a step. Those of cut k compute c_k; their
batch is u_k bytes up and d_k down. The server begins when all are there, and computes s for the samples of all cuts:

    t = s + ρ + max_k (c_k + u_k / R + d_k / R)

SplitFed then sends S(w_c,k) up and down, the largest last: ρ + 2 max_k S(w_c,k) / R. FL is that of one cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sglr.core.cuts.fit import why_not_several
from sglr.core.errors import UsageError, name_clients
from sglr.core.registry import METHODS
from sglr.planner.costs import Work
from sglr.planner.several_cuts import CutGroup, PlanOfCuts
from sglr.planner.wall_time import MERGES, Links, Route, RouteTime
from sglr.report.numbers import clock


@dataclass(frozen=True)
class Path:
    """What a step takes the clients of one cut, in seconds, without the server's own work.

    Parameters
    ----------
    cut
        The cut.
    clients
        Who they are.
    client, up, down
        What one computes, and its batch takes up and down.
    rtt
        A round trip.
    """

    cut: str
    clients: tuple[int, ...]
    client: float
    up: float
    down: float
    rtt: float

    @property
    def seconds(self) -> float:
        """All of it: nothing of a path is at the same time as another part."""
        return self.client + self.up + self.rtt + self.down

    def record(self) -> dict[str, Any]:
        """Return it as JSON."""
        told = asdict(self)
        return {"cut": told.pop("cut"), "clients": list(told.pop("clients")), **_in_seconds(told, self.seconds)}


def _in_seconds(parts: dict[str, float], whole: float) -> dict[str, float]:
    return {f"{name}_seconds": value for name, value in parts.items()} | {"path_seconds": whole}


def check_route(route: Route) -> None:
    """Refuse a route that clients who are cut at several places can't take.

    Raises
    ------
    UsageError
        If they compute ahead, or the method has no meaning for several cuts.
    """
    if route.ahead:
        problem = "clients of a cut may have no batch in a step that others compute ahead"
        raise UsageError("ahead", route.ahead, problem, "leave it out, or give one --cut")
    if route.method != "fl" and (why := why_not_several(METHODS.load(route.method))):
        raise UsageError("methods", route.method, why, "give one --cut, or methods such as sglr and sfl")


@dataclass(frozen=True)
class LinksOfCuts(Links):
    """The links of clients that are cut at several places."""

    plan: PlanOfCuts

    @property
    def work(self) -> Work | None:
        """Operations of one sample at the deepest cut."""
        return self.plan.groups[-1].scenario.work

    def paths(self, compression: str) -> list[Path]:
        """Return the path of each cut's clients, from the cut nearest to the input."""
        return [self._path(group, compression) for group in self.plan.groups]

    def _path(self, group: CutGroup, compression: str) -> Path:
        cut, work = group.cut, group.scenario.work
        up, down = self.batch_bytes(cut.cut_mb, cut.beside_mb, cut.smashed_shape, compression)
        client = 0.0 if work is None else self.client_seconds(work.client)
        return Path(cut.name, group.clients, client, up / self.rate, down / self.rate, self.rtt)

    @property
    def _server(self) -> float:
        each = [(len(group.clients), group.scenario.work) for group in self.plan.groups]
        operations = sum(number * work.server for number, work in each if work is not None)
        return self.server_seconds(self.batch * operations)

    def split_time(self, route: Route) -> RouteTime:
        """Return the time of a route that splits the model.

        Raises
        ------
        UsageError
            If clients compute ahead, or can't be cut at several places with its method.
        """
        check_route(route)
        step = self._server + max(path.seconds for path in self.paths(route.compression))
        largest = max(group.cut.client_mb for group in self.plan.groups)
        merges = MERGES[route.method] * self.weights_seconds(largest)
        return RouteTime(route, step, step * self.steps + merges, "exchange")

    def slowest(self, times: Sequence[RouteTime]) -> list[str]:
        """Say whose path a step waits for, by how values at the cut are written; nothing where all take as long."""
        said = []
        for code in dict.fromkeys(one.route.compression for one in times if one.route.method != "fl"):
            first, *others = sorted(self.paths(code), key=lambda path: -path.seconds)
            if others and first.seconds > others[0].seconds:
                written = "" if code == "none" else f" with {code}"
                said.append(
                    f"A step waits for {name_clients(first.clients)}, cut behind {first.cut}{written}: "
                    f"{clock(first.seconds)}; the next take {clock(others[0].seconds)} ({others[0].cut})."
                )
        return said
