"""How long and how fast a training goes, who takes part, and how often it is looked at."""

from __future__ import annotations

from dataclasses import dataclass


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

    def at_work(self, clients: int) -> int:
        """Return how many of the clients take part in a round."""
        return max(1, round(self.participation * clients))
