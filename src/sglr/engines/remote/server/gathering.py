"""Clients' weights on their way to be merged: asked for, or come with the tally of the pass before.

A client that passes over its data by itself knows when a merge follows, so that its weights come with its tally: one
round trip less in every round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from sglr.engines.remote.server.requests import RequestSender
from sglr.engines.remote.server.shared_weights import SharedWeights
from sglr.engines.remote.server.validation import MessageValidator
from sglr.engines.remote.wire.frames import Frame


class WeightGathering:
    """Gathers clients' weights.

    Parameters
    ----------
    requests, validator
        Send requests, and check their answers.
    shared
        The weights from which clients began.
    """

    def __init__(self, requests: RequestSender, validator: MessageValidator, shared: SharedWeights) -> None:
        self._requests, self._validator, self._shared = requests, validator, shared
        self._came: dict[int, Frame] = {}

    def came(self, frames: Mapping[int, Frame]) -> None:
        """Keep those tallies that hold weights, until these are gathered; a pass that diverged sends none."""
        self._came = {client: frame for client, frame in frames.items() if frame.payloads}

    def forget(self) -> None:
        """Forget weights that came with tallies: clients go back to a checkpoint, or on to another pass."""
        self._came = {}

    def weights(self, clients: Sequence[int]) -> dict[int, dict[str, Tensor]]:
        """Return the weights of those of ``clients`` who are present, and whose numbers are sound."""
        self._shared.begin_gathering()
        frames = {client: self._came[client] for client in clients if client in self._came}
        self.forget()
        if missing := [client for client in clients if client not in frames]:
            envelope = self._requests.at()
            envelope.collect.SetInParent()
            frames |= self._requests.answers(missing, envelope, "weights")
        ordered = {client: frames[client] for client in sorted(frames)}
        return self._validator.weights(ordered, self._shared.check, self._shared.published)
