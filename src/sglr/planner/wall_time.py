"""The time of an epoch over links with a delay, by method, compression and steps computed ahead: `sglr.cost.step_time`.

All n clients are alike, so that nobody waits for another. A batch has b samples; its smashed data are u bytes up and
its gradients d bytes down, over a link of rate R with a round trip ρ; c is what a client computes in a step, s what the
server does for all clients. A step without anything computed ahead, and one with N batches ahead of their gradients:

    t_0 = c + ρ + u / R + s + d / R
    t_N = max(c, u / R, d / R, s, t_0 / (N + 1))

An epoch of n steps ends with all gradients back, so that one of its steps takes the whole exchange: t_0 + (n - 1) t_N.
FL has no steps that wait: in an epoch it computes, and sends S(w) up and down: ρ + 2 S(w) / R.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any

from sglr.compression.error_feedback import parse as parse_codec
from sglr.core.errors import UsageError, unknown
from sglr.planner.costs import BYTES_PER_MB, Work
from sglr.planner.plan import CostPlan

if TYPE_CHECKING:
    from sglr.planner.several_cuts import PlanOfCuts

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
class Links(ABC):
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

    plan: CostPlan | PlanOfCuts
    rtt: float

    def __post_init__(self) -> None:
        if not (isfinite(self.rtt) and self.rtt >= 0):
            raise UsageError("rtt", self.rtt, "is below zero", "give the time of a round trip, such as 100ms")

    @property
    @abstractmethod
    def work(self) -> Work | None:
        """Operations of one sample, of which those of the whole model count here; None where they are not known."""

    @abstractmethod
    def split_time(self, route: Route) -> RouteTime:
        """Return the time of a route that splits the model."""

    @property
    def rate(self) -> float:
        """R, in bytes per second."""
        return self.plan.scenario.rate * BYTES_PER_MB

    @property
    def batch(self) -> float:
        """b, the samples of a client in a step: no more than it owns."""
        return min(self.plan.batch, self.samples)

    @property
    def samples(self) -> float:
        """What one client owns."""
        sizes = self.plan.scenario.sizes
        return sizes.samples / sizes.clients

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return ceil(self.samples / self.batch)

    def weights_seconds(self, megabytes: float) -> float:
        """Return how long weights take up and down again."""
        return self.rtt + 2 * megabytes * BYTES_PER_MB / self.rate

    def client_seconds(self, operations: float) -> float:
        """Return how long a client computes in a step, given its operations of one sample; no time without a rate."""
        rate = self.plan.scenario.flops_rate
        return 0.0 if rate is None else self.batch * operations / rate

    def server_seconds(self, operations: float) -> float:
        """Return how long the server computes, given its operations in a step; no time without a rate."""
        rate = self.plan.scenario.server_flops_rate
        return 0.0 if rate is None else operations / rate

    @property
    def whole_seconds(self) -> float:
        """What a client computes in a step of FL."""
        return 0.0 if self.work is None else self.client_seconds(self.work.whole)

    def batch_bytes(self, cut_mb: float, beside_mb: float, shape: tuple[int, ...], code: str) -> tuple[float, float]:
        """Return the bytes of a batch at a cut, up with targets and what goes beside, and down.

        Parameters
        ----------
        cut_mb, beside_mb
            Of one sample, in MB.
        shape
            Of its smashed data.
        code
            How they are written.
        """
        codec, whole, batch = parse_codec(code), cut_mb * BYTES_PER_MB, self.batch
        up, down = (whole if one.exact else one.bytes((1, *shape)) for one in (codec, codec.of_gradients))
        target = LABEL_BYTES if self.plan.target_bytes is None else self.plan.target_bytes
        return batch * (up + beside_mb * BYTES_PER_MB + target), batch * down

    def time(self, route: Route) -> RouteTime:
        """Return the time of a route.

        Raises
        ------
        UsageError
            If its method has no closed form, or can't compute so far ahead.
        """
        if route.method not in METHODS:
            raise unknown("methods", route.method, METHODS)
        if route.method != "fl":
            return self.split_time(route)
        client, weights = self.whole_seconds, self.weights_seconds(self.plan.scenario.sizes.model)
        bound = "client" if client * self.steps > weights else "weights"
        return RouteTime(route, client, client * self.steps + weights, bound)

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
        left = rounds * split.epoch - self.rtt - self.whole_seconds * self.steps
        return max(0.0, left) * self.rate / 2 / BYTES_PER_MB


@dataclass(frozen=True)
class Network(Links):
    """The links of clients that are all cut at one place."""

    plan: CostPlan

    @property
    def work(self) -> Work | None:
        """Operations of one sample."""
        return self.plan.scenario.work

    def bytes_at_cut(self, compression: str) -> tuple[float, float]:
        """Return the bytes of a batch, up with targets and what goes beside, and down."""
        sizes = self.plan.scenario.sizes
        values = max(1, round(sizes.cut * BYTES_PER_MB / 4))
        shape = next((one.cut.smashed_shape for one in self.plan.cuts if one.cut.name == self.plan.cut), (values,))
        return self.batch_bytes(sizes.cut, sizes.beside, shape, compression)

    def split_time(self, route: Route) -> RouteTime:
        """Return the time of a route that splits the model."""
        sizes, work = self.plan.scenario.sizes, self.work
        client = 0.0 if work is None else self.client_seconds(work.client)
        server = 0.0 if work is None else self.server_seconds(self.batch * sizes.clients * work.server)
        up, down = (bytes_ / self.rate for bytes_ in self.bytes_at_cut(route.compression))
        parts = {"client": client, "up": up, "down": down, "server": server}
        whole = client + self.rtt + up + server + down
        parts["exchange"] = whole / (route.ahead + 1)
        bound = max(parts, key=lambda name: parts[name])
        merges = MERGES[route.method] * self.weights_seconds(sizes.client)
        return RouteTime(route, parts[bound], whole + parts[bound] * (self.steps - 1) + merges, bound)


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
    found += [Route(method, code, depth) for method in split for code in compressions for depth in ahead]
    return list(dict.fromkeys(found))
