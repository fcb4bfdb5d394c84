"""The server as methods, engines and the training loop see it: it learns when it is told to, and counts."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from sglr.core.cuts.cut_rows import StageRates
from sglr.core.events import ServerWork, TrainMetrics
from sglr.core.merging import Merging
from sglr.core.types import ByOutputs, HandOut, Priors, ServerBatch, StepContext, Uplink
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

    @property
    def work(self) -> ServerWork | None:
        """How many samples went through the segment so far; None after a checkpoint that does not know it."""
        ...

    def learn(self, uplink: Uplink, context: StepContext, rate: float | StageRates) -> Tensor:
        """Take one joint step on everything received.

        Parameters
        ----------
        uplink
            What the clients sent.
        context
            Where in the training this is.
        rate
            The learning rate: ``context.server_rate``, unless the method scales it (SplitLr); or that of every stage,
            where clients are cut at several places.

        Returns
        -------
        Tensor
            Cut-layer gradients ``[C, b, ...]``, each of the mean loss over the client's own batch.
        """
        ...

    def gradients(self, uplink: Uplink, context: StepContext, log_prior: Tensor | None = None) -> Tensor:
        """Return the cut-layer gradients at the weights as they are, without a step.

        No loss is counted, and nothing moves, batch statistics neither.

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

    def learn_batch(
        self, batch: ServerBatch, context: StepContext, rate: float, told_prior: Tensor | None = None
    ) -> Tensor:
        """Take one step as `step` does, and return gradients by the batch's smashed data.

        Parameters
        ----------
        batch, context, rate
            As in `step`.
        told_prior
            The prior of the loss whose gradients are returned, ``[N, K]``; None if it is that of the step.

        Returns
        -------
        Tensor
            Of the batch's mean loss by its smashed data, ``[N, ...]``. What clients are told of it goes through
            `defended` first.
        """
        ...

    def by_outputs(self, uplink: Uplink, context: StepContext) -> ByOutputs:
        """Count a step's loss and labels as `learn` does; return the gradients of the mean loss by the outputs.

        It is a forward pass alone: no step, and nothing that goes back.

        Returns
        -------
        ByOutputs
            Of the mean over all N samples, by their outputs ``[N, ...]``.
        """
        ...

    def back_propagate(
        self, smashed: Tensor, by_outputs: ByOutputs, context: StepContext, rate: float, samples: int
    ) -> Tensor:
        """Take one step on gradients by the outputs that are given; no loss is counted, and batch statistics stay.

        Parameters
        ----------
        smashed
            What the pass goes through, ``[n, ...]``.
        by_outputs
            The gradients by its outputs, ``[n, ...]``, such as those of `by_outputs`, summed or not.
        context, rate
            As in `learn`.
        samples
            The samples that the gradients are a mean of, which is the step's weight among those of one update.

        Returns
        -------
        Tensor
            The gradients by the smashed data, ``[n, ...]``. What clients are told of them goes through `defended`
            first.
        """
        ...

    def defended(self, gradients: Tensor, uplink: Uplink, context: StepContext) -> Tensor:
        """Return what clients are told instead of cut-layer gradients ``[C, b, ...]``: the defences of labels.

        `learn`, `learn_copies` and `gradients` return what went through it.
        """
        ...

    def priors(self, uplink: Uplink) -> Priors | None:
        """Count a step's labels, as `learn` does by itself; return the priors to correct, or None (``--label-prior``).

        Call it once in a step, by a method that calls `step` and `gradients` in place of `learn`.
        """
        ...

    def learn_copies(self, uplink: Uplink, context: StepContext, rate: float, weight: float = 1.0) -> Tensor:
        """Let every client's own copy of the segment take one step on that client's batch (SplitFed v1).

        Parameters and result are those of `learn`. The loss is multiplied by ``weight``, where it is one of two; not
        where it is counted.
        """
        ...

    def remember(self, uplink: Uplink, most: int) -> None:
        """Keep what clients sent, the newest ``most`` samples of each, to align their heads by it."""
        ...

    def align_heads(self, clients: tuple[int, ...], epochs: int) -> HandOut | None:
        """Align clients' heads with the cut gradients of what was kept, in so many steps each (FSL-SAGE).

        Returns
        -------
        HandOut or None
            The heads of those of ``clients`` that something is kept of; None if there are none.
        """
        ...

    def merge_copies(self, merging: Merging) -> None:
        """Merge the copies of those who are merged, and give all copies the result."""
        ...

    def hold_for(self, clients: tuple[int, ...], weights: Weights) -> Weights:
        """Return clients' weights to be merged ``[n, ...]``, with those that the server holds in their place.

        Where clients are cut at several places, these are the layers that others hold themselves; else there are none.
        """
        ...

    def take_up(self, shared: Weights) -> None:
        """Go on from merged weights ``[...]``, as far as the server holds these layers for some clients."""
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


def step_in_turn(server: Server, uplink: Uplink, context: StepContext) -> None:
    """Take a step on one client's upload after another, in a random order as of their arrival; nothing goes back."""
    for row in context.rng.permutation(len(uplink.clients)).tolist():
        one = uplink.only(row)
        priors = server.priors(one)
        batch = ServerBatch(one.smashed[0], one.labels[0], log_prior=None if priors is None else priors.step)
        server.step(batch, context, context.server_rate)
