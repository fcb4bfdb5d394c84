"""The plan of a training: how long, how fast, who takes part, how often it is evaluated; and how far it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from sglr.core.optim import Plateau, scheduled_rate
from sglr.core.random import generator


class Batches(Protocol):
    """What the training loop and its costs know of how data are cut into batches."""

    @property
    def unequal(self) -> bool:
        """True if a batching rule gives clients batches that differ by intent."""
        ...

    def used(
        self, sizes: NDArray[np.int64], seed: int = 0, epoch: int = 0, clients: Sequence[int] | None = None
    ) -> NDArray[np.int64]:
        """Return how many samples every client of a cohort trains on in an epoch ``[n]``, by |D_i| ``[n]``.

        It depends on seed, epoch and who they are (by default 0, 1, …) only where clients can be late.
        """
        ...

    def staleness(
        self, sizes: Sequence[int], seed: int, epoch: int, clients: Sequence[int]
    ) -> Callable[[int], Mapping[int, float]]:
        """Return what tells, step by step, how much each client's batch weighs in the server's, if not all alike."""
        ...


def weigh_alike(step: int) -> Mapping[int, float]:
    """Return that all clients of a step weigh alike."""
    del step
    return {}


class Once:
    """Batches in which every sample is used once."""

    unequal = False

    def used(
        self, sizes: NDArray[np.int64], seed: int = 0, epoch: int = 0, clients: Sequence[int] | None = None
    ) -> NDArray[np.int64]:
        """Return the sizes."""
        del seed, epoch, clients
        return sizes

    def staleness(
        self, sizes: Sequence[int], seed: int, epoch: int, clients: Sequence[int]
    ) -> Callable[[int], Mapping[int, float]]:
        """Return that all weigh alike."""
        del sizes, seed, epoch, clients
        return weigh_alike


class Rates(NamedTuple):
    """The learning rates of a step: the clients', and the server's before SplitLr scales it."""

    clients: float
    server: float


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
        A name of `sglr.core.optim.SCHEDULES`; without meaning if there is a ``plateau``.
    plateau
        How rates follow the validation score, or None.
    warmup
        Epochs, or a part of one, over which rates rise in a straight line to those of the schedule.
    accumulate
        K, the steps whose gradients are averaged for one update.
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
    batches
        How data are cut into batches.
    seed
        Seed of all random draws.
    monitor
        The score of the validation that chooses the best epoch, ``"loss"`` among them.
    higher_is_better
        Whether more of it is better.
    early_stopping
        Validations in a row without a better score with which the training ends; None to train to the end.
    """

    epochs: int
    rate: float
    server_rate: float
    schedule: str = "step"
    plateau: Plateau | None = None
    warmup: float = 0.0
    accumulate: int = 1
    participation: float = 1.0
    evaluate_every: int = 1
    evaluate_clients: int = 20
    checkpoint_every: int = 0
    check_every: int = 1
    fresh_optimizers: bool = False
    least_batch: int = 1
    batches: Batches = field(default_factory=Once)
    seed: int = 0
    monitor: str = "accuracy"
    higher_is_better: bool = True
    early_stopping: int | None = None

    def at_work(self, clients: int) -> int:
        """Return how many of the clients take part in a round."""
        return max(1, round(self.participation * clients))

    def able(self, sizes: Sequence[int]) -> NDArray[np.int64]:
        """Return the clients that have enough samples for a batch, or whose number of samples is not known yet."""
        owned = np.asarray(sizes)
        return np.flatnonzero((owned == 0) | (owned >= self.least_batch))

    def drawn(self, sizes: Sequence[int], number: int) -> tuple[int, ...]:
        """Return the clients that take part in a round, ascending, by |D_i| of all."""
        able = self.able(sizes)
        chosen = min(self.at_work(len(sizes)), len(able))
        rng = generator(self.seed, "participants", number)
        return tuple(np.sort(able[rng.choice(len(able), size=chosen, replace=False)]).tolist())

    def scored(self, sizes: Sequence[int], most: int) -> tuple[int, ...]:
        """Return the clients that are scored: all that can take part, or ``most`` drawn by the seed; 0 is all."""
        able = self.able(sizes)
        if not 0 < most < len(able):
            return tuple(able.tolist())
        rng = generator(self.seed, "evaluated clients")
        return tuple(np.sort(able[rng.choice(len(able), size=most, replace=False)]).tolist())

    def rates(self, progress: Progress, share: float = 1.0) -> Rates:
        """Return the rates where ``progress`` stands.

        Parameters
        ----------
        progress
            How far the run is.
        share
            Share of the epoch that is over with the step that is taken, in (0, 1]: what warm-up depends on.
        """
        epoch = min(progress.epoch, self.epochs - 1)
        rates = [self.rate, self.server_rate]
        if self.plateau is None:
            rates = [scheduled_rate(self.schedule, rate, epoch, self.epochs) for rate in rates]
        elif progress.plateau is not None:
            rates = progress.plateau["rates"]
        if (done := epoch + share) < self.warmup:
            rates = [rate * done / self.warmup for rate in rates]
        return Rates(*rates)

    def judge(self, progress: Progress, epoch: int, score: float, loss: float = math.nan) -> bool:
        """Note what the validation of an epoch, counted from 1, came to; return True if it is the best so far.

        The schedule `plateau` follows it, and early stopping counts it. A score that is not a number is no
        better one, and the schedule does not count it. Of equal scores the one with the least ``loss`` is best: scores
        such as AUROC reach 1 long before the loss has fallen. Of equal accuracies the first is, as it always was.
        """
        higher, best = self.higher_is_better, progress.best_score
        if self.plateau is not None and not math.isnan(score):
            first = (self.rate, self.server_rate)
            progress.plateau = self.plateau.after(progress.plateau, first, score, higher_is_better=higher)
        if not math.isnan(score) and (best is None or (score > best if higher else score < best)):
            progress.best_score, progress.best_epoch, progress.stale = score, epoch, 0
            progress.best_loss = None if math.isnan(loss) else loss
            return True
        progress.stale += 1
        return self._breaks_tie(progress, epoch, score, loss)

    def why_ended(self, progress: Progress) -> str:
        """Return why the training ends before its last epoch; empty if it goes on."""
        if progress.stopped or self.early_stopping is None or progress.stale < self.early_stopping:
            return progress.stopped
        since = "" if progress.best_epoch is None else f" since epoch {progress.best_epoch}"
        return f"early stopping, as validation {self.monitor.replace('_', ' ')} did not improve{since}"

    def _breaks_tie(self, progress: Progress, epoch: int, score: float, loss: float) -> bool:
        if self.monitor == "accuracy" or score != progress.best_score or progress.best_loss is None:
            return False
        if not loss < progress.best_loss:
            return False
        progress.best_epoch, progress.best_loss = epoch, loss
        return True


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
    best_loss: float | None = None  # of the same validation
    stale: int = 0  # validations since the best one
    plateau: dict[str, Any] | None = None  # what the schedule `plateau` remembers
    stopped: str = ""  # why a callback ends the training before its last epoch
    changed: bool = True  # what is validated may have changed since it was last

    def took(self, steps: int, samples: int, seconds: float) -> None:
        """Count steps that are over."""
        self.seconds += seconds
        self.samples += samples
        self.step += steps
        self.epoch_steps += steps
        self.steps += steps

    def record(self) -> dict[str, float | int]:
        """Return what an epoch's record tells of how far the run is."""
        return {"steps": self.steps, "samples": self.samples, "seconds": self.seconds}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Read what a checkpoint says.

        Raises
        ------
        TypeError, ValueError
            If it says something else, or what can't be.
        """
        found = cls(**{RENAMED.get(name, name): value for name, value in state.items()})
        counts = [found.epoch, found.cohort, found.step, found.epoch_steps, found.steps, found.samples, found.stale]
        if not isinstance(found.stopped, str):
            raise TypeError("the reason for stopping is no text")
        if not isinstance(found.changed, bool):
            raise TypeError("whether weights have changed is neither true nor false")
        figures = [found.seconds, found.best_epoch or 0, found.best_score or 0.0, found.best_loss or 0.0]
        figures += _figures_of(found.plateau)
        if not all(type(count) is int and count >= 0 for count in counts) or not all(map(math.isfinite, figures)):
            raise ValueError("the progress of the training is malformed")
        return found


def _figures_of(plateau: Mapping[str, Any] | None) -> list[float]:
    """Return the numbers in the state of a `sglr.core.optim.Plateau`; raise KeyError or TypeError if they lack."""
    if plateau is None:
        return []
    clients, server = plateau["rates"]
    return [clients, server, *(plateau[name] for name in ("best", "num_bad_epochs", "cooldown_counter"))]
