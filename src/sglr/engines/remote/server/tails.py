"""Requests to clients that keep their labels: loss and gradients by features, in training and for scores (U-shape)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sglr.core.types import Answer
from sglr.engines.remote.server.extremes import Extremes
from sglr.engines.remote.server.requests import STATE_SECONDS, RequestSender
from sglr.engines.remote.server.validation import MessageValidator
from sglr.engines.remote.told import HeldOutTally


class Tails:
    """Clients' tails, over the network.

    Parameters
    ----------
    requests
        Sends requests to clients.
    validator
        Reads their answers.
    extremes
        Tells which values can't be sent.

    Attributes
    ----------
    absent
        Clients that were not sent the features of this step, because these are not finite or too large.
    """

    def __init__(self, requests: RequestSender, validator: MessageValidator, extremes: Extremes) -> None:
        self._requests, self._validator, self._extremes = requests, validator, extremes
        self.absent: set[int] = set()

    def begin_step(self) -> None:
        """Begin a step: no client is absent from it."""
        self.absent.clear()

    def answer(self, features: Tensor, sizes: Mapping[int, int], step: int) -> Answer:
        """Send clients, the keys of ``sizes``, the features of their batches ``[n, b, ...]``; return their answers.

        A client that does not answer in time, or whose answer can't be used, has a gradient of zero.
        """
        here = features.detach().cpu().contiguous()
        gradients = torch.zeros_like(features, memory_format=torch.contiguous_format)
        sums = torch.zeros(2, len(sizes), dtype=torch.float64, device=features.device)
        made = {client: here[row, :size] for row, (client, size) in enumerate(sizes.items())}
        self.absent |= self._extremes.check_sent("features", made)
        envelope = self._requests.at(step)
        envelope.features.SetInParent()
        sent = {client: values for client, values in made.items() if client not in self.absent}
        frames = self._requests.answers_each(sent, envelope, "feature_gradients", moves=True)
        found = self._validator.answers(frames, {client: sizes[client] for client in frames})
        for row, (client, size) in enumerate(sizes.items()):
            if client in found:
                own, loss, correct = found[client]
                gradients[row, :size] = own.to(features.device)
                sums[:, row] = torch.tensor([loss, float(correct)])
        answered = tuple(size if client in found else 0 for client, size in sizes.items())
        return Answer(gradients, sums[0], sums[1], answered)

    def scored(self, features: Mapping[int, Tensor], first: int, *, part: str, shared: bool) -> dict[int, HeldOutTally]:
        """Return what each client says that its held-out samples come to by their features."""
        absent = self._extremes.check_sent("features", features)
        envelope = self._requests.at()
        told = envelope.features
        told.part, told.first, told.shared = part, first, shared
        told.count = max(map(len, features.values()), default=0)
        sent = {client: values for client, values in features.items() if client not in absent}
        frames = self._requests.answers_each(sent, envelope, "tally", moves=False, least_seconds=STATE_SECONDS)
        sizes = {client: len(sent[client]) for client in frames}
        return self._validator.scores(frames, sizes)
