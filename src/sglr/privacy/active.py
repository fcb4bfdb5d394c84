"""The protocol of attacks that take part in the training: a client with false data, or a server with false gradients.

A frozen dataclass per file of ``sglr/privacy/attacks``, as with attacks on a trained network. The training is carried
out again with the attack in it, in this process and on the run's own data: `sglr.leakage.replay`.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from torch import nn

from sglr.core.data import ClientData, Samples
from sglr.core.merging import Merging
from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.task import Serves
from sglr.core.types import Downlink, Extent, HandOut, StepContext, Uplink
from sglr.core.weights import Weights
from sglr.privacy.attack import AttackResult
from sglr.privacy.target import Target
from sglr.privacy.threat import Sees


@dataclass(frozen=True)
class AttackSetup:
    """What an attacker knows when the training begins.

    Parameters
    ----------
    client
        The client that is attacked, by its number.
    clients
        How many clients there are.
    fresh
        Gives a client's segment with first weights of the attacker's own, by seed.
    auxiliary
        Samples of the same kind as the clients'.
    seed
        Seed of the attack's random draws.
    """

    client: int
    clients: int
    fresh: Callable[[int], nn.Module]
    auxiliary: Samples
    seed: int


@dataclass(frozen=True)
class AttackOutcome:
    """The result of a training with an attack in it.

    Parameters
    ----------
    setup
        As it was when the training began.
    method
        What `ActiveAttack.hijack` returned.
    attacked
        The client after the training that the attack took part in.
    clean
        The same client after the run without it.
    """

    setup: AttackSetup
    method: Method
    attacked: Target
    clean: Target

    @property
    def scene(self) -> AttackSetup:
        """The name of `setup` in sglr 0.1."""
        warnings.warn(
            "AttackOutcome.scene is now setup; sglr 0.3 removes the old name", DeprecationWarning, stacklevel=2
        )
        return self.setup


@dataclass(frozen=True)
class ActiveAttack(ABC):
    """An attack that takes part in the training.

    Attributes
    ----------
    attacker
        Who carries it out: ``"server"`` or ``"client"``.
    needs
        What the attacker must see or be able to do.
    source
        The publication.
    serves
        Which tasks it attacks.
    """

    attacker: ClassVar[str]
    needs: ClassVar[frozenset[Sees]]
    source: ClassVar[str]
    serves: ClassVar[Serves] = Serves.ANY

    def poison(self, data: ClientData, setup: AttackSetup) -> ClientData:
        """Return the clients' data after the attacker changed its own: by default unchanged.

        Raises
        ------
        UsageError
            If these data are not fit for the attack.
        """
        del setup
        return data

    def hijack(self, method: Method, setup: AttackSetup) -> Method:
        """Return the method as the attacking server carries it out: by default unchanged.

        Raises
        ------
        UsageError
            If the server sends clients nothing in this method, so that it cannot mislead them.
        """
        del setup
        return method

    @abstractmethod
    def judge(self, outcome: AttackOutcome) -> AttackResult:
        """Say what the attack achieved."""


CLASS_FACTS = [name for name, kind in Method.__annotations__.items() if kind.startswith("ClassVar")]
"""What a method says of itself by class attributes."""


@dataclass(frozen=True)
class Hijacked(Method):
    """A method whose server replaces `exchange`; all else is that of the honest method.

    What it says of itself (`shares`, `whole_model`, ...) is what the honest method says.
    """

    honest: Method = field(kw_only=True)

    def __post_init__(self) -> None:
        for name in CLASS_FACTS:
            object.__setattr__(self, name, getattr(self.honest, name))

    @property
    def needs_labels(self) -> bool:
        """Whether the honest method reads labels."""
        return self.honest.needs_labels

    @property
    def needs_classes(self) -> bool:
        """Whether it reads them as classes."""
        return self.honest.needs_classes

    @property
    def decoder_weight(self) -> float:
        """The weight of the decoder's loss."""
        return self.honest.decoder_weight

    def memory_bytes(self, extent: Extent) -> int:
        """Return what the honest method keeps."""
        return self.honest.memory_bytes(extent)

    def cohorts(self, clients: tuple[int, ...], rng: np.random.Generator) -> list[tuple[int, ...]]:
        """Say who steps together, as the honest method does."""
        return self.honest.cohorts(clients, rng)

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Answer as the honest method does."""
        return self.honest.exchange(server, uplink, context)

    def sends(self, step: int) -> bool:
        """Say whether clients upload in a step, as the honest method does."""
        return self.honest.sends(step)

    def hand_out(self, server: Server, clients: tuple[int, ...], epoch: int) -> HandOut | None:
        """Send clients what the honest method sends before a round."""
        return self.honest.hand_out(server, clients, epoch)

    def round_of(self, epoch: int) -> int:
        """Return the round of an epoch, as the honest method does."""
        return self.honest.round_of(epoch)

    def begins_round(self, epoch: int) -> bool:
        """Say whether a round begins, as the honest method does."""
        return self.honest.begins_round(epoch)

    def merges(self, context: StepContext) -> bool:
        """Say whether segments are merged, as the honest method does."""
        return self.honest.merges(context)

    def merge(self, client_weights: Weights, merging: Merging, server: Server) -> Weights:
        """Merge as the honest method does."""
        return self.honest.merge(client_weights, merging, server)
