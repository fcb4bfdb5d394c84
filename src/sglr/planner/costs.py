"""What one epoch costs with a method: sent and timed in three views, computed, energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from sglr.core.errors import UsageError
from sglr.cost.closed_forms import METHODS, Sizes, broadcast, paper, point_to_point
from sglr.cost.profiles import DeviceProfile

VIEWS = {"paper": paper, "broadcast": broadcast, "point_to_point": point_to_point}
"""The three counts of `sglr.cost.closed_forms` by name."""

MEASURES = (*(f"{what}.{view}" for what in ("total_mb", "seconds") for view in VIEWS), "client_flops", "joules")
"""What methods and cuts are ranked by; operations and energy are the same in every view."""

BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class Work:
    """Floating-point operations of one sample in one training step, forward and backward.

    Parameters
    ----------
    client, server
        In the client's and in the server's segment.
    whole
        In the whole model at a client, as FL trains it.
    """

    client: float
    server: float
    whole: float


@dataclass(frozen=True)
class ViewCost:
    """What one view counts: MB in all and per client, and the seconds of an epoch."""

    total_mb: float
    per_client_mb: float
    seconds: float


@dataclass(frozen=True)
class Scenario:
    """Everything that the cost of an epoch follows from.

    Parameters
    ----------
    sizes
        Clients, samples, and sizes in MB (10⁶ bytes).
    phi
        φ of SplitAvg, in [0, 1].
    rate
        R, of a client's link, or of the shared medium, in MB/s.
    work
        Operations per sample, or None where the model is not known.
    flops_rate, server_flops_rate
        Operations per second of a client and of the server; None leaves that part of the time out.
    profile
        What operations and bytes cost in energy, or None.

    Raises
    ------
    UsageError
        If φ is outside [0, 1], or a rate is not positive.
    """

    sizes: Sizes
    phi: float
    rate: float
    work: Work | None = None
    flops_rate: float | None = None
    server_flops_rate: float | None = None
    profile: DeviceProfile | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.phi <= 1:
            raise UsageError("phi", self.phi, "is outside [0, 1]", "give a fraction of clients, such as 0.75")
        for name in ("rate", "flops_rate", "server_flops_rate"):
            value = getattr(self, name)
            if value is not None and not (isfinite(value) and value > 0):
                raise UsageError(name, value, "is not above zero", "give a positive rate")

    def client_flops(self, method: str) -> float | None:
        """Return the operations of one client in an epoch."""
        if self.work is None:
            return None
        each = self.work.whole if method == "fl" else self.work.client
        return each * self.sizes.samples / self.sizes.clients

    def server_flops(self, method: str) -> float | None:
        """Return the operations of the server in an epoch; averaging weights or gradients is not counted."""
        if self.work is None:
            return None
        return 0.0 if method == "fl" else self.work.server * self.sizes.samples

    def compute_seconds(self, method: str) -> float:
        """Return T: clients compute at the same time, then the server; what has no rate takes no time here."""
        parts = (
            (self.client_flops(method), self.flops_rate),
            (self.server_flops(method), self.server_flops_rate),
        )
        return sum((flops / rate for flops, rate in parts if flops is not None and rate is not None), 0.0)

    def view(self, method: str, view: str) -> ViewCost:
        """Return what one of `VIEWS` counts."""
        volume = VIEWS[view](method, self.sizes, self.phi)
        seconds = volume.seconds(self.rate, self.compute_seconds(method))
        return ViewCost(volume.total, volume.per_client, seconds)

    def network_joules(self, method: str) -> float | None:
        """Return the energy of sending and receiving.

        It is that of separate links in any view: a client's radio listens to a broadcast as long as to a copy of its
        own. Of what they carry, half goes up and half down; what is beside smashed data only goes up.
        """
        if self.profile is None:
            return None
        beside = 0.0 if method == "fl" else self.sizes.samples * self.sizes.beside * BYTES_PER_MB
        each_way = (point_to_point(method, self.sizes, self.phi).total * BYTES_PER_MB - beside) / 2
        up, down = self.profile.joules_per_byte_up, self.profile.joules_per_byte_down
        return (each_way + beside) * up + each_way * down

    def joules(self, method: str) -> float | None:
        """Return the energy of an epoch at all clients, the server and in between."""
        client, server, network = self.client_flops(method), self.server_flops(method), self.network_joules(method)
        if self.profile is None or client is None or server is None or network is None:
            return None
        computing = self.sizes.clients * client * self.profile.client_joules_per_flop
        return computing + server * self.profile.server_joules_per_flop + network


@dataclass(frozen=True)
class MethodCost:
    """What an epoch costs with one method.

    Parameters
    ----------
    views
        Traffic and time by view.
    client_flops, server_flops
        Operations of one client and of the server, or None where the model is not known.
    compute_seconds
        T, the part of the time that is computation.
    joules, network_joules
        Energy in all, and of the network alone, or None where it is not known.
    """

    views: Mapping[str, ViewCost]
    client_flops: float | None
    server_flops: float | None
    compute_seconds: float
    joules: float | None
    network_joules: float | None

    def measure(self, name: str) -> float | None:
        """Return one of `MEASURES`, or None where it is not known."""
        what, _, view = name.partition(".")
        value: float | None = getattr(self.views[view] if view else self, what)
        return value

    def record(self) -> dict[str, Any]:
        """Return it as JSON: the paper's view first, then the rest."""
        views = {view: asdict(cost) for view, cost in self.views.items()}
        rest = {name: value for name, value in vars(self).items() if name != "views"}
        return {**views["paper"], **rest, "views": views}


def method_cost(method: str, scenario: Scenario) -> MethodCost:
    """Return what an epoch costs with a method of `sglr.cost.closed_forms.METHODS`."""
    return MethodCost(
        {view: scenario.view(method, view) for view in VIEWS},
        scenario.client_flops(method),
        scenario.server_flops(method),
        scenario.compute_seconds(method),
        scenario.joules(method),
        scenario.network_joules(method),
    )


def method_costs(scenario: Scenario) -> dict[str, MethodCost]:
    """Return what an epoch costs with every method of Table 6."""
    return {method: method_cost(method, scenario) for method in METHODS}
