"""The method protocol: what is exchanged between clients and server, and nothing about where they live.

A method is a frozen dataclass; its fields are its hyper-parameters, which the command line and the
configuration read, each with ``metadata={"help": ...}``. Adding a method is one file in ``sglr/methods``.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np

from sglr.core.errors import UsageError
from sglr.core.merging import Merging
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, Extent, HandOut, StepContext, Uplink
from sglr.core.weights import Weights, without_head


@dataclass(frozen=True)
class Method(ABC):
    """A way to train one network over many clients.

    Attributes
    ----------
    whole_model
        Clients hold the whole model: the cut is behind the last layer and no smashed data crosses the network.
    pooled
        All data is in one place: a single client that owns everything.
    shares
        Client segments are merged: `merge` gives the weights that everyone goes on from, all or in part (`own_share`).
    server_copies
        The server keeps one copy of its segment per client.
    merge_every
        Steps between two merges of client segments, where they are shared; 0 is once an epoch.
    merges_its_way
        When weights are merged, or handed on, is what the method is about: `merging` refuses to change it.
    accumulates
        Gradients of several steps can be averaged for one update: `exchange` lets the server learn once in a step.
    joint
        The server's step is on all clients together, so that there is a label prior of them all.
    any_size
        The server steps on batches of the method's own making, of another size each time.
    mixes
        The server adds or averages what different samples have at the cut, or draws it anew: that is undefined for
        masks and numbers of tokens, so that models of which these cross are refused.
    settings
        Values of settings that make the method what it is, such as ``{"label_prior": "pooled"}``: where the method is
        named, they are the defaults.
    head
        Clients have a head behind their smashed data, and train by its loss: alone, or beside the server's
        (`head_weight`).
    trains_head
        Clients train their heads; else the server sends them.
    decodes
        Clients have a decoder behind their smashed data, and train by its loss (`decoder_weight`) beside the server's.

    Examples
    --------
    A method whose clients back-propagate a share of their own gradient, and which trains by that:

    >>> from dataclasses import dataclass, field
    >>> import sglr
    >>> @dataclass(frozen=True)
    ... class Damped(Method):
    ...     share: float = field(default=0.5, metadata={"help": "share of the gradient that clients take"})
    ...
    ...     def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
    ...         gradients = server.learn(uplink, context, context.server_rate)
    ...         return Downlink(self.share * gradients)
    >>> run = sglr.train(Damped(0.1), dataset="digits", clients=2, samples_per_client=40, epochs=1)
    >>> run.summary["method"], run.history[-1]["steps"]
    ({'name': '<Damped>', 'share': 0.1}, 5)
    """

    whole_model: ClassVar[bool] = False
    pooled: ClassVar[bool] = False
    shares: ClassVar[bool] = False
    server_copies: ClassVar[bool] = False
    accumulates: ClassVar[bool] = True
    merge_every: ClassVar[int] = 0
    merges_its_way: ClassVar[bool] = False
    joint: ClassVar[bool] = True
    head: ClassVar[bool] = False
    trains_head: ClassVar[bool] = True
    any_size: ClassVar[bool] = False
    decodes: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    settings: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @property
    def own_share(self) -> float:
        """The share λ, 0 to 1, of its own weights that each client keeps in a merge; the rest are the merged ones."""
        return 0.0

    @property
    def alike(self) -> bool:
        """Whether client segments are shared, and all clients go on from the same weights."""
        return self.shares and self.own_share == 0

    def merging(self, when: str) -> Self:
        """Return the same method with client segments merged at other times.

        Parameters
        ----------
        when
            ``"never"``, ``"epoch"``, or the number of steps between two merges.

        Raises
        ------
        UsageError
            If it is none of these, or the method can't be changed so.
        """
        if self.merges_its_way:
            problem = f"when weights are merged or handed on is part of the method {type(self).__name__}"
            raise UsageError("merge", when, problem, "leave it out, or choose a method such as psl or sglr")
        every = 0 if when in ("never", "epoch") else int(when) if when.isdecimal() else -1
        if every < 0 or when == "0":
            raise UsageError("merge", when, "is no time to merge", "give never, epoch, or a number of steps from 1")
        changed = copy.copy(self)
        object.__setattr__(changed, "shares", when != "never")
        object.__setattr__(changed, "merge_every", every)
        return changed

    def cohorts(self, clients: tuple[int, ...], rng: np.random.Generator) -> list[tuple[int, ...]]:
        """Say who steps together in an epoch: by default all at once.

        Parameters
        ----------
        clients
            The clients that take part in this round, ascending.
        rng
            Random numbers of the epoch.

        Returns
        -------
        list of tuple of int
            Cohorts in the order in which they train; each passes once over its data.
        """
        del rng
        return [clients]

    @abstractmethod
    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Let the server learn from a step, and say what each client back-propagates.

        Parameters
        ----------
        server
            The server; it only learns when told to.
        uplink
            What the clients sent.
        context
            Where in the training this is, with the step's random numbers.

        Returns
        -------
        Downlink
            Cut-layer gradients ``[C, b, ...]``, and what of them is the same for several clients; or that none are
            sent.
        """

    def sends(self, step: int) -> bool:
        """Say whether clients upload smashed data in a step of an epoch, counted from 0; else they train alone."""
        del step
        return True

    def check_steps(self, steps: int) -> None:
        """Refuse parameters that don't fit an epoch of so many steps, by raising `UsageError`."""
        del steps

    def hand_out(self, server: Server, clients: tuple[int, ...], epoch: int) -> HandOut | None:
        """Say what the server sends some clients before a round, beside shared weights: by default nothing."""
        del server, clients, epoch
        return None

    @property
    def head_weight(self) -> float:
        """The weight γ of the head's loss at a client, where it has one; the rest, 1 − γ, is that of the server's loss.

        At 1, clients train by their heads alone, and the server sends them no gradients.
        """
        return 1.0

    @property
    def answered(self) -> bool:
        """Whether the server sends clients gradients."""
        return not self.head or self.head_weight < 1

    @property
    def decoder_weight(self) -> float:
        """The weight of the decoder's loss at a client, where it has one."""
        return 0.0

    @property
    def keeps_head(self) -> bool:
        """Whether what stands behind a client's smashed data is its own, also where weights are shared."""
        return self.decodes or not self.trains_head

    def shared_of(self, weights: Weights) -> Weights:
        """Return those of a client's weights that clients share, if they share any.

        A head that they are sent, or a decoder, is each client's own.
        """
        return without_head(weights) if self.keeps_head else weights

    @property
    def needs_labels(self) -> bool:
        """Whether `exchange` reads labels itself, which it can't where they stay with the clients."""
        return False

    def memory_bytes(self, extent: Extent) -> int:
        """Return the most bytes that `StepContext.memory` takes, and what the server remembers for the method.

        A training that could not hold them is refused.
        """
        del extent
        return 0

    @property
    def needs_classes(self) -> bool:
        """Whether it reads them as classes, so that each sample needs one: by default, if it reads them at all."""
        return self.needs_labels

    @property
    def merges_inside_epoch(self) -> bool:
        """Whether client segments are merged between the steps of an epoch, so that no client can run ahead."""
        return self.shares and self.merge_every > 0

    @property
    def mixed_share(self) -> float:
        """Share of clients, 0 to 1, whose gradients follow other clients' labels as much as their own."""
        return 0.0

    def round_of(self, epoch: int) -> int:
        """Return the round that an epoch belongs to; participants are drawn once per round."""
        return epoch

    def begins_round(self, epoch: int) -> bool:
        """Say whether clients take up the shared weights before this epoch."""
        return epoch == 0 or self.round_of(epoch) != self.round_of(epoch - 1)

    def merges(self, context: StepContext) -> bool:
        """Say whether client segments are merged after this step: every so many, and at the end of every epoch."""
        due = self.merge_every > 0 and (context.step + 1) % self.merge_every == 0
        return self.shares and (due or context.ends_epoch)

    def merge(self, client_weights: Weights, merging: Merging, server: Server) -> Weights:
        """Say what becomes of client weights when they are merged: by default what the run's rule makes of them.

        That is their mean (eq. 8 and 10), unless ``--merge-rule`` names another.

        Parameters
        ----------
        client_weights
            Weights and buffers ``[n, ...]`` of the cohort's clients.
        merging
            The rule, who is merged, with which shares of the data, and what was shared last.
        server
            The server, for methods that merge on its side too.

        Returns
        -------
        Weights
            The weights ``[...]`` that the clients go on from, or that each mixes with its own (`own_share`).
        """
        del server
        return merging.merge(client_weights)
