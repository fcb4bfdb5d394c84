"""The server as methods, engines and the training loop see it: it learns when it is told to, and counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from sglr.core.events import TrainMetrics
from sglr.core.merging import Merging
from sglr.core.types import Answer, Uplink
from sglr.core.weights import Weights


class Server(Protocol):
    """Holds the upper segment, learns from uplinks, and answers with cut-layer gradients.

    Attributes
    ----------
    rate
        The learning rate of the epoch, before SplitLr scales it.
    epoch, step_number
        Where in the training the next step is.
    last_rate
        The learning rate of the last step.
    ask
        Where labels stay with the clients (U-shape): gives their answer to features ``[n, b, ...]`` of the clients that
        it is told. None where the server has the labels.
    features
        Shape of one sample's features in the last step, where clients are asked.
    """

    rate: float
    epoch: int
    step_number: int
    last_rate: float
    ask: Callable[[Tensor, tuple[int, ...]], Answer] | None
    features: tuple[int, ...] | None

    @property
    def segment(self) -> nn.Module:
        """The upper segment, as it is now."""
        ...

    def learn(self, uplink: Uplink, rate_factor: float = 1.0) -> Tensor:
        """Take one joint step on everything received, at the server's rate times ``rate_factor``.

        Returns
        -------
        Tensor
            Cut-layer gradients ``[C, b, ...]``, each of the mean loss over the client's own batch.
        """
        ...

    def learn_copies(self, uplink: Uplink) -> Tensor:
        """Let every client's own copy of the segment take one step on that client's batch (SplitFed v1).

        Returns
        -------
        Tensor
            Cut-layer gradients ``[C, b, ...]``, each of the mean loss over the client's own batch.
        """
        ...

    def merge_copies(self, merging: Merging) -> None:
        """Merge the copies of those who are merged, and give all copies the result."""
        ...

    def read_tally(self) -> TrainMetrics:
        """Return the sums since `restart_tally`."""
        ...

    def add_tally(self, tally: TrainMetrics) -> None:
        """Add what clients measured that trained by themselves."""
        ...

    def bad_step(self) -> int | None:
        """Return the first step since `restart_tally` whose loss was not a number."""
        ...

    def restart_tally(self) -> None:
        """Begin new sums, at the start of an epoch."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint needs, by name."""
        ...

    def restore(self, tensors: Weights) -> None:
        """Take up what `state` returned."""
        ...
