"""Batching rules by name: how many samples each client has in a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field

from sglr.core.errors import unknown
from sglr.core.spec import Option, Spec

LOCAL, PROPORTIONAL, GLOBAL = "local", "proportional", "global"
"""Names of batching rules."""

RULES = (LOCAL, PROPORTIONAL, GLOBAL)

MOST_TOGETHER = 10**9
"""Samples of a step, at most."""

_TOGETHER = {
    "samples": Option(Annotated[int, Field(ge=1, le=MOST_TOGETHER)], "B, those of a step of all clients together")
}


@dataclass(frozen=True)
class BatchRule:
    """How many samples each client has in a step.

    Parameters
    ----------
    name
        ``"local"``: b of each client. ``"proportional"``: client i has max(1, ⌊B n_i / Σ n⌋), or ``least`` where
        that is more. ``"global"``: B that are drawn from all clients' data together.
    together
        B; None for b times the clients of the cohort.
    """

    name: str = LOCAL
    together: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``local``, ``proportional``, ``proportional:B``, ``global`` or ``global:B``.

        Raises
        ------
        UsageError
            If it is none of them.
        """
        spec = Spec.parse("batching", text)
        if spec.name not in RULES:
            raise unknown("batching", spec.name, RULES)
        known = {} if spec.name == LOCAL else _TOGETHER
        return cls(spec.name, spec.options(known, first=next(iter(known), None)).get("samples"))

    @property
    def unequal(self) -> bool:
        """True if clients' batches differ by intent, and follow from the sizes of the whole cohort."""
        return self.name != LOCAL
