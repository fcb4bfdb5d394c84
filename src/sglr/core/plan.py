"""The plan of a training: how long, how fast, who takes part, how often it is evaluated; and how far it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train, and how often to look.

    Parameters
    ----------
    epochs
        Passes over the data.
    rate
        η_c, the clients' learning rate.
    server_rate
        The server's base rate, which SplitLr scales.
    schedule
        A name of `sglr.core.optim.SCHEDULES`.
    participation
        Share of the clients that take part in a round, in (0, 1].
    evaluate_every
        Epochs between validations; the last epoch is always validated.
    evaluate_clients
        Most clients that a validation looks at; 0 is all.
    checkpoint_every
        Steps between checkpoints within an epoch, 0 for none; there is one after every epoch anyway.
    check_every
        Steps between looks at the loss for a value that is not a number.
    fresh_optimizers
        True if clients begin every round that they take part in with an optimizer that remembers nothing.
    least_batch
        Fewest samples of a batch: clients that own fewer take no part.
    seed
        Seed of all random draws.
    monitor
        The score of the validation that chooses the best epoch, ``"loss"`` among them.
    higher_is_better
        Whether more of it is better.
    """

    epochs: int
    rate: float
    server_rate: float
    schedule: str = "step"
    participation: float = 1.0
    evaluate_every: int = 1
    evaluate_clients: int = 20
    checkpoint_every: int = 0
    check_every: int = 1
    fresh_optimizers: bool = False
    least_batch: int = 1
    seed: int = 0
    monitor: str = "accuracy"
    higher_is_better: bool = True

    def at_work(self, clients: int) -> int:
        """Return how many of the clients take part in a round."""
        return max(1, round(self.participation * clients))


RENAMED = {"best_accuracy": "best_score"}
"""What checkpoints of sglr 0.1 call differently."""


@dataclass
class Progress:
    """How far a run is; together with the state of engine and server, all that a resumed run needs."""

    epoch: int = 0
    cohort: int = 0
    step: int = 0
    epoch_steps: int = 0  # steps of this epoch that are over, in all cohorts
    steps: int = 0  # steps of the whole run that are over
    samples: int = 0
    seconds: float = 0.0  # spent training, without evaluation
    best_epoch: int | None = None
    best_score: float | None = None

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Read what a checkpoint says.

        Raises
        ------
        TypeError, ValueError
            If it says something else, or what can't be.
        """
        found = cls(**{RENAMED.get(name, name): value for name, value in state.items()})
        counts = [found.epoch, found.cohort, found.step, found.epoch_steps, found.steps, found.samples]
        figures = [found.seconds, found.best_epoch or 0, found.best_score or 0.0]
        if not all(type(count) is int and count >= 0 for count in counts) or not all(map(math.isfinite, figures)):
            raise ValueError("the progress of the training is malformed")
        return found
