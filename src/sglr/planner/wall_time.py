"""The time of an epoch over links with a delay, by method, compression and steps computed ahead: `sglr.cost.step_time`.

All n clients are alike, so that nobody waits for another. A batch has b samples; its smashed data are u bytes up and
its gradients d bytes down, over a link of rate R with a round trip ρ; c is what a client computes in a step, s what the
server does for all clients. A step without anything computed ahead, and one with N batches ahead of their gradients:

    t_0 = c + ρ + u / R + s + d / R
    t_N = max(c, u / R, d / R, s, t_0 / (N + 1))

FL has no steps that wait: in an epoch it computes, and sends S(w) up and down: ρ + 2 S(w) / R.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, isfinite
from typing import Any

from sglr.compression.error_feedback import parse as parse_codec
from sglr.core.errors import UsageError, unknown
from sglr.planner.costs import BYTES_PER_MB
from sglr.planner.plan import CostPlan

LABEL_BYTES = 8
"""Of a sample's target, where the task is not named."""

MERGES = {"psl": 0, "slr": 0, "sgl": 0, "sglr": 0, "sglr2": 0, "sfl": 1}
"""How often methods with steps merge client segments in an epoch."""

METHODS = ("fl", *MERGES)
"""Methods whose time has a closed form."""

MOST_AHEAD = 8


@dataclass(frozen=True)
class Route:
    """How a training could run: a method, how values at the cut are written, and how far clients compute ahead."""

    method: str
    compression: str = "none"
    ahead: int = 0

    @property
    def label(self) -> str:
        """It in a few words."""
        parts = [self.method, *([] if self.compression == "none" else [self.compression])]
        return " ".join([*parts, *([f"{self.ahead} ahead"] if self.ahead else [])])


@dataclass(frozen=True)
class RouteTime:
    """The time of a route.

    Parameters
    ----------
    route
        The route.
    step, epoch
        Seconds; FL's step is what it computes.
    bound
        What a step takes longest for: ``"exchange"``, ``"up"``, ``"down"``, ``"client"`` or ``"server"``; FL's is
        ``"weights"``, or ``"client"``.
    """

    route: Route
    step: float
    epoch: float
    bound: str

    def record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**asdict(self.route), "step_seconds": self.step, "epoch_seconds": self.epoch, "bound": self.bound}


@dataclass(frozen=True)
class Network:
    """The link of each client, and the batch of a step.

    Parameters
    ----------
    plan
        Sizes, operations and rates.
    rtt
        Seconds of a round trip.

    Raises
    ------
    UsageError
        If it is negative.
    """

    plan: CostPlan
    rtt: float

    def __post_init__(self) -> None:
        if not (isfinite(self.rtt) and self.rtt >= 0):
            raise UsageError("rtt", self.rtt, "is below zero", "give the time of a round trip, such as 100ms")

    @property
    def _rate(self) -> float:
        return self.plan.scenario.rate * BYTES_PER_MB

    @property
    def samples(self) -> float:
        """What one client owns."""
        sizes = self.plan.scenario.sizes
        return sizes.samples / sizes.clients

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return ceil(self.samples / self.plan.batch)

    def weights_seconds(self, megabytes: float) -> float:
        """Return how long weights take up and down again."""
        return self.rtt + 2 * megabytes * BYTES_PER_MB / self._rate

    def computes(self, *, whole: bool) -> tuple[float, float]:
        """Return what a client and the server compute in a step, in seconds; what has no rate takes no time."""
        given, batch = self.plan.scenario, self.plan.batch
        if given.work is None:
            return 0.0, 0.0
        own, at_server = given.work.whole if whole else given.work.client, 0.0 if whole else given.work.server
        client = 0.0 if given.flops_rate is None else batch * own / given.flops_rate
        rate = given.server_flops_rate
        return client, 0.0 if rate is None else batch * given.sizes.clients * at_server / rate

    def bytes_at_cut(self, compression: str) -> tuple[float, float]:
        """Return the bytes of a batch, up with targets and what goes beside, and down."""
        sizes, batch = self.plan.scenario.sizes, self.plan.batch
        values = max(1, round(sizes.cut * BYTES_PER_MB / 4))
        shape = next((one.cut.smashed_shape for one in self.plan.cuts if one.cut.name == self.plan.cut), (values,))
        codec = parse_codec(compression)
        whole = sizes.cut * BYTES_PER_MB
        up, down = (whole if one.exact else one.bytes((1, *shape)) for one in (codec, codec.of_gradients))
        target = LABEL_BYTES if self.plan.target_bytes is None else self.plan.target_bytes
        return batch * (up + sizes.beside * BYTES_PER_MB + target), batch * down

    def time(self, route: Route) -> RouteTime:
        """Return the time of a route.

        Raises
        ------
        UsageError
            If its method has no closed form, or can't compute so far ahead.
        """
        if route.method not in METHODS:
            raise unknown("methods", route.method, METHODS)
        sizes = self.plan.scenario.sizes
        if route.method == "fl":
            client, _ = self.computes(whole=True)
            weights = self.weights_seconds(sizes.model)
            bound = "client" if client * self.steps > weights else "weights"
            return RouteTime(route, client, client * self.steps + weights, bound)
        client, server = self.computes(whole=False)
        up, down = (bytes_ / self._rate for bytes_ in self.bytes_at_cut(route.compression))
        parts = {"client": client, "up": up, "down": down, "server": server}
        parts["exchange"] = (client + self.rtt + up + server + down) / (route.ahead + 1)
        bound = max(parts, key=lambda name: parts[name])
        merges = MERGES[route.method] * self.weights_seconds(sizes.client)
        return RouteTime(route, parts[bound], parts[bound] * self.steps + merges, bound)

    def crossover_mb(self, split: RouteTime, rounds: float = 1.0) -> float:
        """Return the size of a model in MB at which FL takes as long as a split route.

        Parameters
        ----------
        split
            The route.
        rounds
            Epochs that the split method needs for each of FL's.

        Notes
        -----
        ρ + 2 S(w) / R + c = rounds × the split method's epoch, with what FL computes, c, and all else as it is.
        """
        client, _ = self.computes(whole=True)
        left = rounds * split.epoch - self.rtt - client * self.steps
        return max(0.0, left) * self._rate / 2 / BYTES_PER_MB


def routes(methods: Sequence[str], compressions: Sequence[str], ahead: Sequence[int]) -> list[Route]:
    """Return all combinations; FL sends nothing at a cut, and has one.

    Raises
    ------
    UsageError
        If a method is not known here, a compression can't be read, or nobody can compute so far ahead.
    """
    for method in methods:
        if method not in METHODS:
            raise unknown("methods", method, METHODS)
    for compression in compressions:
        parse_codec(compression)
    for depth in ahead:
        if not 0 <= depth <= MOST_AHEAD:
            problem = "is no number of batches that clients can compute ahead"
            raise UsageError("ahead", depth, problem, f"give 0 to {MOST_AHEAD}")
    found = [Route("fl")] if "fl" in methods else []
    split = (method for method in methods if method != "fl")
    return found + [Route(method, code, depth) for method in split for code in compressions for depth in ahead]
