"""The server as methods, engines and the training loop see it: it learns when it is told to, and counts."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from sglr.core.events import TrainMetrics
from sglr.core.merging import Merging
from sglr.core.types import Priors, ServerBatch, StepContext, Uplink
from sglr.core.weights import Weights


class Server(Protocol):
    """Holds the upper segment, learns from uplinks, and answers with cut-layer gradients."""

    @property
    def segment(self) -> nn.Module:
        """The upper segment, as it is now."""
        ...

    @property
    def last_rate(self) -> float:
        """The learning rate of the last step; 0 before the first."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes; 0 where samples have no single class."""
        ...

    @property
    def features(self) -> tuple[int, ...] | None:
        """Shape of one sample's features in the last step, where labels stay with the clients (U-shape); else None."""
        ...

    def learn(self, uplink: Uplink, context: StepContext, rate: float) -> Tensor:
        """Take one joint step on everything received.

        Parameters
        ----------
        uplink
            What the clients sent.
        context
            Where in the training this is.
        rate
            The learning rate: ``context.server_rate``, unless the method scales it (SplitLr).

        Returns
        -------
        Tensor
            Cut-layer gradients ``[C, b, ...]``, each of the mean loss over the client's own batch.
        """
        ...

    def gradients(self, uplink: Uplink, context: StepContext, log_prior: Tensor | None = None) -> Tensor:
        """Return the cut-layer gradients at the weights as they are, without a step.

        Nothing is counted and nothing moves, batch statistics neither.

        Parameters
        ----------
        uplink
            What the clients sent.
        context
            Where in the training this is.
        log_prior
            Added to the logits of the N samples, ``[N, K]``: `Priors.told` of what `priors` returns.

        Returns
        -------
        Tensor
            As `learn` returns.
        """
        ...

    def step(self, batch: ServerBatch, context: StepContext, rate: float) -> None:
        """Take one step on a batch of the method's own making, and count its loss."""
        ...

    def priors(self, uplink: Uplink) -> Priors | None:
        """Count a step's labels, as `learn` does by itself; return the priors to correct, or None (``--label-prior``).

        Call it once in a step, by a method that calls `step` and `gradients` in place of `learn`.
        """
        ...

    def learn_copies(self, uplink: Uplink, context: StepContext, rate: float) -> Tensor:
        """Let every client's own copy of the segment take one step on that client's batch (SplitFed v1).

        Parameters and result are those of `learn`.
        """
        ...

    def merge_copies(self, merging: Merging) -> None:
        """Merge the copies of those who are merged, and give all copies the result."""
        ...

    def read_metrics(self) -> TrainMetrics:
        """Return the sums since `restart_metrics`."""
        ...

    def add_metrics(self, metrics: TrainMetrics) -> None:
        """Add what clients measured that trained by themselves."""
        ...

    def bad_step(self) -> int | None:
        """Return the first step since `restart_metrics` whose loss was not finite."""
        ...

    def restart_metrics(self) -> None:
        """Begin new sums, at the start of an epoch."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint needs, by name."""
        ...

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        ...
