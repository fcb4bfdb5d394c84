"""The input of an attack: one client of a trained network, and all that an attacker could see of it.

An attack uses what it declares in `needs`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sglr.core.data import Inputs, Samples
from sglr.core.errors import UsageError
from sglr.core.task import Task
from sglr.privacy.threat import Sees
from sglr.splitting.input_layout import InputLayout

NO_DISTANCES = "it compares inputs by their distances, and numbers of tokens have none"


def has_quantities(inputs: Inputs, layout: InputLayout | None) -> bool:
    """Say whether inputs have distances, or one of a sample's several inputs has."""
    return inputs.dtype.is_floating_point if layout is None else bool(layout.quantities)


def told(layout: InputLayout | None) -> str:
    """Return what inputs are that a measure or an attack can't have."""
    return "tokens" if layout is None else ", ".join(layout.names)


@dataclass(frozen=True)
class Target:
    """One client of a trained network. Modules are on the CPU, in evaluation mode, and not to be changed.

    Parameters
    ----------
    client
        Its number.
    attacker
        Who attacks.
    seen
        What this attacker sees.
    lower, upper
        The client's segment and the server's.
    send
        What the client sends of inputs ``[n, ...]``: its smashed data ``[n, ...]`` with all of its defences.
    gradients
        Cut-layer gradients ``[n, ...]`` that it would get for samples, each of its own sample's loss.
    updates
        What one step on the client's own samples at rows ``[b]`` tells, of a lower and an upper segment that it is
        given: the gradients of the batch's mean loss by the weights of both, in their order.
    fresh
        Gives a client's segment with other first weights, by seed.
    fresh_upper
        Gives a server's segment with other first weights, by seed.
    own
        The client's own samples, which the attacker tries to recover.
    auxiliary
        Samples of the same kind that the attacker has.
    unseen
        Samples that nobody trained with.
    classes
        K.
    batch_size
        Samples of one step.
    task
        What the network learns.
    seed
        Seed of the attack's random draws.
    tail
        The client's last layers, where it keeps its labels (U-shape): what the server makes are features for it. Else
        the identity.
    feature_gradients
        What the client would send up for samples, where it keeps its labels: gradients ``[n, ...]`` by the server's
        features, each of its own sample's loss. Else None.
    answered
        False if the client trains by a head of its own and gets no gradients.
    learned
        How many numbers of a row that is sent are learned, where masks or numbers of tokens are beside them; else None.
    layout
        The inputs of a sample, where it has several, which are one row; else None.
    """

    client: int
    attacker: str
    seen: frozenset[Sees]
    lower: nn.Module
    upper: nn.Module
    send: Callable[[Inputs], Tensor]
    gradients: Callable[[Samples], Tensor]
    updates: Callable[[Tensor, nn.Module, nn.Module], tuple[Tensor, ...]]
    fresh: Callable[[int], nn.Module]
    fresh_upper: Callable[[int], nn.Module]
    own: Samples
    auxiliary: Samples
    unseen: Samples
    classes: int
    batch_size: int
    task: Task
    seed: int
    tail: nn.Module = field(default_factory=nn.Identity)
    feature_gradients: Callable[[Samples], Tensor] | None = None
    answered: bool = True
    learned: int | None = None
    layout: InputLayout | None = None

    def observed(self, inputs: Inputs) -> Tensor:
        """Return what a measure compares of what the client sends of inputs ``[n, ...]``: without what is beside it.

        Masks and numbers of tokens have no distances, and are known to the server as they are.
        """
        sent = self.send(inputs)
        return sent if self.learned is None else sent[:, : self.learned]

    def quantities(self, inputs: Tensor) -> Tensor:
        """Return what a measure compares of inputs ``[n, ...]``: without tokens, which have no distances.

        Raises
        ------
        UsageError
            If inputs are tokens, all of them.
        """
        if not has_quantities(inputs, self.layout):
            raise UsageError("inputs", told(self.layout), NO_DISTANCES, "leave it out")
        if self.layout is None:
            return inputs
        return self.layout.of_quantities(inputs).to(torch.get_default_dtype())

    def pictures(self, inputs: Tensor) -> Tensor:
        """Return the pictures ``[n, channels, height, width]`` of inputs ``[n, ...]``; others than pictures stay.

        Raises
        ------
        UsageError
            If a sample has several inputs, and not exactly one of them is a picture.
        """
        if self.layout is None:
            return inputs
        if self.layout.picture is None:
            problem = "none of these inputs is the one picture that could be recovered"
            raise UsageError("inputs", told(self.layout), problem, "leave it out")
        return self.layout.unpack(inputs)[self.layout.picture]

    def predict(self, inputs: Inputs) -> Tensor:
        """Return the output of the whole trained network for inputs ``[n, ...]``: scores of the classes ``[n, K]``."""
        with torch.no_grad():
            scores: Tensor = self.tail(self.upper(self.send(inputs)))
        return scores
