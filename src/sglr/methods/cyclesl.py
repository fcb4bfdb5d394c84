"""CycleSL (arXiv 2511.18611): the server learns from re-drawn smashed data first, and clients from what it then is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.server_protocol import Server
from sglr.core.split_avg import SplitAvg
from sglr.core.types import Downlink, ServerBatch, StepContext, Uplink
from sglr.core.weights import to_device

__all__ = ["CycleSL"]


@dataclass(frozen=True)
class CycleSL(Method):
    """Update the server on small batches drawn from all clients' smashed data, then freeze it and tell the gradients.

    Evidence grade A: read in the authors' code. As it stands it is their CyclePSL; with ``--merge epoch`` it is
    CycleSFL, and with φ > 0 CycleSGLR, whose average is by position here, as SGLR's is. A last batch of one sample
    joins the one before it, since layers that normalise by batch can't train on one; batch statistics move in the
    server's steps alone. Over sequential split learning there is one client, and nothing to draw anew.

    Notes
    -----
    With Z all samples of the step and n_j = |D_i| of the client that sample j came from, one step is, the second line
    for each batch M of E_s passes over Z in a new random order, and g_i found with the server's new weights:

        s_i = f(w_c,i, B_i)
        w_s ← w_s − η_s ∂/∂w_s Σ_j∈M n_j ℓ_j / Σ_j∈M n_j
        g_i = ∂L_i / ∂s_i
        ḡ = Σ_i∈C_a g_i / |C_a|
        w_c,i ← w_c,i − η_c J_iᵀ ḡ, i ∈ C_a
        w_c,i ← w_c,i − η_c J_iᵀ g_i, i ∉ C_a
    """

    accumulates: ClassVar[bool] = False

    server_epochs: int = field(default=1, metadata={"help": "passes E_s of the server over a step's smashed data"})
    server_batch: int = field(
        default=0, metadata={"help": "samples of one step of the server; 0 is as many as a client's batch has"}
    )
    phi: float = field(default=0.0, metadata={"help": "SplitAvg fraction φ of active clients, 0 to 1; 0 is off"})

    def __post_init__(self) -> None:
        if self.server_epochs < 1:
            raise UsageError("server_epochs", self.server_epochs, "is not positive", "give 1 or more")
        if self.server_batch < 0:
            raise UsageError("server_batch", self.server_batch, "is negative", "give samples, or 0")
        self.split_avg.check()

    @property
    def split_avg(self) -> SplitAvg:
        """The averaging step."""
        return SplitAvg(self.phi)

    @property
    def mixed_share(self) -> float:
        """The fraction φ."""
        return self.split_avg.mixed_share

    @property
    def needs_labels(self) -> bool:
        """True: samples are drawn with their targets."""
        return True

    @property
    def needs_classes(self) -> bool:
        """False: targets of any kind can be drawn."""
        return False

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Let the server learn from batches drawn anew; clients back-propagate the gradients at its new weights."""
        priors = server.priors(uplink)
        smashed, targets = uplink.flatten(uplink.smashed), uplink.flatten(uplink.labels)
        weights = _data_sizes(uplink, context)
        for rows in self._batches(len(targets), self.server_batch or max(uplink.sizes), context.rng.spawn(1)[0]):
            drawn = to_device(rows, smashed.device)
            prior = None if priors is None or priors.step is None else priors.step[drawn]
            batch = ServerBatch(smashed[drawn], targets[drawn], weights[drawn], prior)
            server.step(batch, context, context.server_rate)
        gradients = server.gradients(uplink, context, None if priors is None else priors.told)
        return self.split_avg(gradients, uplink, context)

    def _batches(self, samples: int, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
        """Draw E_s orders of the samples, cut into batches."""
        ends = list(range(size, samples, size))
        if len(ends) and samples - ends[-1] == 1:
            del ends[-1]
        for _ in range(self.server_epochs):
            yield from (part.tolist() for part in np.split(rng.permutation(samples), ends))


def _data_sizes(uplink: Uplink, context: StepContext) -> Tensor:
    """Return |D_i| of each sample's client, ``[N]``, of the type of the smashed data."""
    own = [context.data_sizes[client] for client in uplink.clients]
    each = np.repeat(np.array(own, dtype=np.float64), uplink.sizes)
    return to_device(each.tolist(), uplink.smashed.device).to(uplink.smashed.dtype)
