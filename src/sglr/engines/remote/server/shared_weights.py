"""How far clients' weights may be from the shared weights that they began with.

One message with every weight within the limits of a single tensor could move an average a million times farther than
learning does, and make the other clients' activations explode. So the difference between a client's trained weights
w_i and the weights w that were published last is bounded:

    ‖w_i − w‖ ≤ FACTOR · (‖w‖ + Σ_t η_t · √d),

where η_t are the clients' rates of the steps since, and d is the number of weights. An optimizer that normalises its
gradients moves every weight by a multiple of η_t in a step: Adam by at most 3.2 (Kingma and Ba, arXiv 1412.6980,
section 2.1), RMSprop by at most 10. One that does not, as plain SGD, moves them with the gradient; steps that together
are many times longer than the weights themselves do not learn, they diverge. Honest runs stay below a quarter of the
bound, at rates at which the loss jumps before it falls.

Where clients keep a share λ of their own weights, they begin at λ w_i + (1 − λ) w, a λ-th of their distance away. Then
Σ_t η_t goes over the steps of all epochs, each epoch's λ times as much as the one's after it.

Buffers, such as the mean and variance of a normalisation layer, follow the data instead of the rate. They are bounded
in size alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from sglr.core.errors import ExtremeValues
from sglr.core.weights import Weights, below
from sglr.engines.remote.limits import most_norm

FACTOR = 10.0
"""How many times farther than the norm of the weights and the length of all steps."""

log = logging.getLogger(__name__)


class SharedWeights:
    """The weights that were published last, and what clients made of them.

    Parameters
    ----------
    trained
        Names of the trained weights; all others are buffers.
    own_share
        The share λ of its own weights that each client keeps.

    Attributes
    ----------
    published
        The weights and buffers; empty before anything was published.
    travel
        Sum of the clients' rates over all steps since, and a share of those before.
    distances
        How far from the published weights those of each client were that were gathered last.
    """

    def __init__(self, trained: Collection[str], own_share: float = 0.0) -> None:
        self._trained, self._own_share = tuple(trained), own_share
        self._take({})
        self.travel = 0.0
        self.distances: dict[int, float] = {}

    def _take(self, weights: Mapping[str, Tensor]) -> None:
        """Take published weights; their norm is looked up once, and not for every client."""
        self.published = dict(weights)
        self._published_norm = _norm(weights[name] for name in self._names)

    def step(self, rate: float) -> None:
        """Note that clients took a step at a rate, or steps at rates of this sum."""
        self.travel += rate

    def begin_gathering(self) -> None:
        """Forget how far clients' weights were the last time."""
        self.distances.clear()

    @property
    def most(self) -> float:
        """How far clients' weights may be from the published ones."""
        values = sum(self.published[name].numel() for name in self._names)
        return FACTOR * (self._published_norm + self.travel * math.sqrt(values))

    @property
    def _names(self) -> list[str]:
        return [name for name in self._trained if name in self.published]

    def check(self, client: int, weights: Weights) -> None:
        """Check how far a client's weights are from the published ones.

        Raises
        ------
        ExtremeValues
            If they are too far.
        """
        if not self.published:
            return
        own = [name for name in self._names if name in weights]
        far = _norm(weights[name].cpu().double() - self.published[name].double() for name in own)
        self.distances[client] = far
        if far > self.most:
            raise ExtremeValues(
                f"its weights are too far from the shared ones it began with: norm {far:.3g}, at most {self.most:.3g}"
            )

    def publish(self, weights: Weights) -> None:
        """Take new weights, from which clients go on.

        Raises
        ------
        ExtremeValues
            If clients would refuse them: whose weights are the farthest from the published ones is told and logged.
        """
        most = most_norm(sum(tensor.numel() for tensor in weights.values()))
        wrong = [name for name, tensor in weights.items() if not _norm([tensor]) <= most]
        if wrong:
            raise ExtremeValues(f"the shared weights {wrong[0]!r} are not finite or too large{self._farthest()}")
        before = self.published
        self._take({name: tensor.detach().cpu().clone() for name, tensor in weights.items()})
        if not self._own_share:
            self.travel = 0.0
        elif not all(torch.equal(tensor, before.get(name, tensor)) for name, tensor in self.published.items()):
            self.travel *= self._own_share  # the same again is for those who were absent

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs."""
        tensors = {f"published.{name}": tensor for name, tensor in self.published.items()}
        return tensors | {"travel": torch.tensor(self.travel, dtype=torch.float64)}

    def restore(self, tensors: Weights) -> None:
        """Take up what `state` returned; where it tells no travel, nothing is too far until the next publication."""
        self._take(below("published.", tensors))
        self.travel = float(tensors["travel"]) if "travel" in tensors else math.inf

    def _farthest(self) -> str:
        if not self.distances:
            return ""
        client = max(self.distances, key=self.distances.__getitem__)
        log.warning(
            "no average is published: client %d's weights are the farthest from the shared ones",
            client,
            extra={"client": client, "event": "outlier"},
        )
        return f"; client {client}'s are the farthest from those before, norm {self.distances[client]:.3g}"


def _norm(tensors: Iterable[Tensor]) -> float:
    """Return the norm of tensors together, in double precision; NaN or infinite where they are."""
    norms = [torch.linalg.vector_norm(tensor.double()) for tensor in tensors]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
