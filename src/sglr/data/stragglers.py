"""What a step does about clients that are late, on simulated clocks; and how long each client takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sglr.core.errors import UsageError
from sglr.core.spec import Option, Spec

Rows = NDArray[np.int64]
Times = NDArray[np.float64]
ALL = slice(None)

WAIT, DEADLINE, QUORUM, BUFFER = "wait", "deadline", "quorum", "buffer"
"""Names of rules."""

_NUMBER = Annotated[int, Field(ge=1)]
_SECONDS = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_OPTIONS: dict[str, dict[str, Option]] = {
    WAIT: {},
    DEADLINE: {
        "seconds": Option(_SECONDS, "from the server's last answer until a step goes on"),
        "fewest": Option(_NUMBER, "clients that a step waits for all the same"),
    },
    QUORUM: {"number": Option(_NUMBER, "clients with which a step begins")},
    BUFFER: {
        "number": Option(_NUMBER, "batches on which the server steps"),
        "power": Option(Annotated[float, Field(ge=0, le=10)], "a batch τ steps old weighs (1 + τ)^−power"),
    },
}


@dataclass(frozen=True)
class StragglerRule:
    """What a step does about clients that are late.

    Parameters
    ----------
    name
        ``"wait"``: it waits for everyone. ``"deadline"``: who is later than ``seconds`` is absent. ``"quorum"``: it
        begins when ``number`` clients are there; the others are absent. ``"buffer"``: the server steps on the
        ``number`` batches that arrive next, whenever that is.
    seconds, fewest
        Of a deadline.
    number
        Of a quorum or a buffer.
    power
        Of a buffer: how much less old batches weigh in the server's step.
    """

    name: str = WAIT
    seconds: float = 0.0
    fewest: int = 1
    number: int = 1
    power: float = 0.5

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``wait``, ``deadline:SECONDS``, ``quorum:NUMBER`` or ``buffer:NUMBER``.

        Raises
        ------
        UsageError
            If it is none of them.
        """
        name, given = Spec.choose("stragglers", text, _OPTIONS)
        known = _OPTIONS[name]
        first = next(iter(known), None)
        if first is not None and first not in given:
            problem = f"{name} has no {first}"
            raise UsageError("stragglers", text, problem, f"give {name}:{first.upper()}: {known[first].about}")
        return cls(name, **given)

    @property
    def waits(self) -> bool:
        """True if a step waits for everyone."""
        return self.name == WAIT


@dataclass(frozen=True)
class Pace:
    """How long clients take for a step: t_i = fixed_i + n_i each_i, from one answer of the server to the next.

    Parameters
    ----------
    fixed
        Seconds of the round trip, ``[n]``.
    each
        Seconds for a sample, computed and sent both ways, ``[n]``.
    server
        The server's seconds for a sample; of each client's, ``[n]``, where they differ.
    sends
        Seconds that a sample takes up, ``[n]``; none if it is not given.
    """

    fixed: Times
    each: Times
    server: float | Times = 0.0
    sends: Times | None = None

    def of(self, clients: Sequence[int]) -> Pace:
        """Return that of some clients."""
        rows = np.asarray(clients, dtype=np.int64)
        server = self.server[rows] if isinstance(self.server, np.ndarray) else self.server
        return Pace(self.fixed[rows], self.each[rows], server, self.up[rows])

    @property
    def up(self) -> Times:
        """Seconds that a sample takes up, ``[n]``."""
        return np.zeros_like(self.each) if self.sends is None else self.sends

    def takes(self, samples: Rows) -> Times:
        """Return t_i, ``[n]``."""
        found: Times = self.fixed + samples * self.each
        return found

    def serves(self, samples: Rows, clients: Rows | slice = ALL) -> float:
        """Return the server's seconds for a step with so many samples of each of some clients, ``[n]``."""
        if isinstance(self.server, np.ndarray):
            return float(samples @ self.server[clients])
        return int(samples.sum()) * self.server
