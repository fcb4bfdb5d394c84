"""Batching rules by name: how many samples each client has in a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field

from sglr.core.spec import Option, Spec

LOCAL, PROPORTIONAL, GLOBAL, CLOCK, REGULATED = "local", "proportional", "global", "clock", "regulated"
"""Names of batching rules."""

MOST_TOGETHER = 10**9
"""Samples of a step, at most."""

_TOGETHER = {
    "samples": Option(Annotated[int, Field(ge=1, le=MOST_TOGETHER)], "B, those of a step of all clients together")
}
_SPREAD = {
    "spread": Option(
        Annotated[float, Field(ge=1, le=1e6)], "the highest rate at which clients compute and send / the lowest"
    )
}
_OPTIONS: dict[str, dict[str, Option]] = {
    LOCAL: {},
    PROPORTIONAL: _TOGETHER,
    GLOBAL: _TOGETHER,
    CLOCK: _SPREAD,
    REGULATED: _SPREAD | _TOGETHER,
}


@dataclass(frozen=True)
class BatchRule:
    """How many samples each client has in a step.

    Parameters
    ----------
    name
        ``"local"``: b of each client. ``"proportional"``: client i has max(1, ⌊B n_i / Σ n⌋), or ``least`` where
        that is more. ``"global"``: B that are drawn from all clients' data together. ``"clock"``: b of those who are
        ready next, on a simulated clock. ``"regulated"``: so many of each client that all take equally long on it.
    together
        B; None for b times the clients of the cohort.
    spread
        The highest rate at which clients may compute and send, the lowest being 1.
    """

    name: str = LOCAL
    together: int | None = None
    spread: float = 10.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``local``, ``proportional:B``, ``global:B``, ``clock:SPREAD`` or ``regulated:SPREAD``, or no number.

        Raises
        ------
        UsageError
            If it is none of them.
        """
        name, given = Spec.choose("batching", text, _OPTIONS)
        return cls(name, given.get("samples"), given.get("spread", cls.spread))

    @property
    def of_cohort(self) -> bool:
        """True if a client's batches follow from the sizes of the whole cohort, not from its own alone."""
        return self.name != LOCAL

    @property
    def unequal(self) -> bool:
        """True if clients' batches differ by intent."""
        return self.name in (PROPORTIONAL, GLOBAL, REGULATED)
