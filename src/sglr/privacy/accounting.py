"""What noise on smashed data guarantees, and what it does not: local differential privacy of one sample.

With ``clip`` every sample's smashed data lie in a ball of radius c, so any two samples are at most 2c apart, and a
release with noise of standard deviation σ is a Gaussian mechanism of sensitivity 2c: a client's training sample is sent
once in an epoch, so T epochs are T releases. One release is computed exactly (Balle and Wang, *Improving the Gaussian
Mechanism for Differential Privacy*, arXiv 1805.06530, theorem 8); the composition is that of opacus's RDP accountant.
Nothing is gained by sampling, because who receives smashed data sees which samples are in a batch.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from sglr.core.defence import Defence
from sglr.parties.defences import has
from sglr.system.extras import require

DELTA = 1e-5
"""The δ of statements."""

ORDERS = (
    [1 + step / 1000 for step in range(1, 100)]
    + [1 + step / 10 for step in range(1, 100)]
    + [float(order) for order in range(11, 513)]
)
"""Rényi orders that the accountant tries."""


@dataclass(frozen=True)
class Guarantee:
    """What the noise of a training guarantees for every training sample, if nobody else knows its draws.

    Parameters
    ----------
    norm, sigma
        c and σ.
    releases
        T.
    delta
        δ.
    """

    norm: float
    sigma: float
    releases: int
    delta: float = DELTA

    @property
    def multiplier(self) -> float:
        """σ / 2c."""
        return self.sigma / (2 * self.norm)

    @property
    def epsilon_of_a_release(self) -> float:
        """ε of one release; infinite without noise."""
        return gaussian_epsilon(self.multiplier, self.delta)

    def epsilon(self) -> float:
        """Return the ε of all releases of a sample, by opacus's RDP accountant: an upper bound.

        Raises
        ------
        UsageError
            If opacus is not installed.
        """
        require_opacus()
        if not self.multiplier or not self.releases:
            return math.inf if self.releases else 0.0
        from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

        steps = compute_rdp(q=1.0, noise_multiplier=self.multiplier, steps=self.releases, orders=ORDERS)
        with warnings.catch_warnings():
            # It is a bound at any order; that another might give a lower one is no news where noise is this weak.
            warnings.filterwarnings("ignore", "Optimal order", UserWarning)
            found, _ = get_privacy_spent(orders=ORDERS, rdp=steps, delta=self.delta)
        return float(found)


def gaussian_epsilon(multiplier: float, delta: float) -> float:
    """Return the smallest ε for which noise of ``multiplier`` times the sensitivity is (ε, δ)-private.

    It solves Φ(1 / 2z - εz) - e^ε Φ(-1 / 2z - εz) = δ for ε, with z the multiplier.
    """
    if multiplier <= 0:
        return math.inf
    low, high = 0.0, 1.0
    if _delta(multiplier, low) <= delta:
        return 0.0
    while _delta(multiplier, high) > delta:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if _delta(multiplier, middle) <= delta else (middle, high)
    return high


def _delta(multiplier: float, epsilon: float) -> float:
    """Return δ by ε, as Φ(a) - e^(-a²/2) · erfcx(-b / √2) / 2 with a, b = ±1 / 2z - εz.

    It is Φ(a) - e^ε Φ(b), since b² - a² = 2ε, in a form that neither overflows nor loses its tail where noise is weak.
    """
    above, below = 0.5 / multiplier - epsilon * multiplier, -0.5 / multiplier - epsilon * multiplier
    scaled = float(torch.special.erfcx(torch.tensor(-below / math.sqrt(2), dtype=torch.float64)))
    return (math.erfc(-above / math.sqrt(2)) - math.exp(-(above**2) / 2) * scaled) / 2


def check_accounted(named: tuple[tuple[str, Defence], ...]) -> None:
    """Refuse defences whose guarantee could not be computed in the end, because opacus is missing.

    Raises
    ------
    UsageError
        If opacus is needed and not installed.
    """
    if guarantee_of(named, 1) is not None:
        require_opacus()


def require_opacus() -> None:
    """Refuse to compute a guarantee where opacus is missing.

    Raises
    ------
    UsageError
        If opacus is not installed.
    """
    require("privacy", "defence", "clip+noise", "opacus")


def guarantee_of(
    named: tuple[tuple[str, Defence], ...], releases: int, *, exact_beside: bool = False
) -> Guarantee | None:
    """Return the guarantee of defences by name; None unless there is noise and the last layer is a bound of the norm.

    A layer behind the bound could enlarge what it bounds. With ``exact_beside`` there is none: see `described`.
    """
    parts = dict(named)
    layers = [name for name, part in named if has(part, "layer")]
    if exact_beside or "noise" not in parts or not layers or layers[-1] != "clip":
        return None
    return Guarantee(parts["clip"].norm, parts["noise"].sigma, releases)  # type: ignore[attr-defined]


def statement_of(
    named: tuple[tuple[str, Defence], ...],
    guarantee: Guarantee | None,
    epsilon: float | None,
    *,
    exact_beside: bool = False,
) -> str:
    """Return in plain words what the defences guarantee, and what they do not.

    Parameters
    ----------
    named
        The defences by name.
    guarantee, epsilon
        What `guarantee_of` found, and its ε over all releases.
    exact_beside
        As for `described`.
    """
    parts = dict(named)
    if "noise" not in parts:
        return "No formal guarantee: these defences make known attacks harder, and guarantee nothing against others."
    if guarantee is None or epsilon is None:
        why = "clip is not the last layer before it" if "clip" in parts else "smashed data have no bound (clip)"
        if exact_beside:
            why = "masks and token numbers are sent as they are, beside what it is added to (cut elsewhere)"
        return f"No formal guarantee: there is noise, but {why}."
    known = "" if parts["noise"].secret else _SEED  # type: ignore[attr-defined]
    return (
        f"Each release of a training sample's smashed data is ({guarantee.epsilon_of_a_release:.3g}, "
        f"{guarantee.delta:g})-differentially private for any two inputs (clip {guarantee.norm:g}, noise "
        f"{guarantee.sigma:g}), and all {guarantee.releases} of them are ({epsilon:.3g}, {guarantee.delta:g})."
        f"{known}{_COUNTED}{_NOT}"
    )


_SEED = (
    " This holds against attackers that neither know the run's seed nor try all: a step's draws follow from 32 bits at"
    " most, and with them the noise can be subtracted. A server that chose the seed can do so at once"
    " (noise:secret=true prevents both, and then no run can be repeated)."
)
_COUNTED = (
    " Counted is one release in each epoch: steps that are run again with other weights, after an interruption or"
    " because a server asks for them, are not."
)
_NOT = (
    " It does not cover what a sample leaves in the client's weights, and so in all that is sent later; nor labels,"
    " gradients, shared weights, other samples of the same person, held-out samples that are scored, or what the server"
    " already knows."
)


def described(
    named: tuple[tuple[str, Defence], ...], releases: int, *, exact_beside: bool = False
) -> dict[str, Any] | None:
    """Return what a summary tells of defences by name; None if there are none.

    Parameters
    ----------
    releases
        How often a training sample's smashed data were sent.
    exact_beside
        Whether something that depends on the inputs crosses beside what defences change, such as a mask.
    """
    if not named:
        return None
    guarantee = guarantee_of(named, releases, exact_beside=exact_beside)
    epsilon = None if guarantee is None else guarantee.epsilon()
    told: dict[str, Any] = {
        "parts": [{"name": name, **vars(part)} for name, part in named],
        "statement": statement_of(named, guarantee, epsilon, exact_beside=exact_beside),
        "guarantee": None,
    }
    if guarantee is not None and epsilon is not None and math.isfinite(epsilon):
        told["guarantee"] = {
            "epsilon_per_release": guarantee.epsilon_of_a_release,
            "epsilon": epsilon,
            "delta": guarantee.delta,
            "releases": releases,
            "accountant": "Gaussian mechanism (one release); RDP by opacus (all)",
        }
    return told
