"""Clients' snapshots as the server knows them: clients hold them, and the server has the SHA-256 of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sglr.core.engine import MissingSnapshot
from sglr.core.weights import Weights
from sglr.engines.remote.server.publisher import Publisher
from sglr.engines.remote.server.requests import RequestSender
from sglr.engines.remote.server.validation import MessageValidator

SHA_256_BYTES = 32


class ClientSnapshots:
    """Has clients write their snapshots, and restore them.

    Parameters
    ----------
    requests, validator
        Send requests, and check their answers.
    publisher
        Sends weights, and knows who lacks them.
    clients
        How many clients there are, |C|.
    """

    def __init__(
        self, requests: RequestSender, validator: MessageValidator, publisher: Publisher, clients: int
    ) -> None:
        self._requests, self._validator, self._publisher, self._clients = requests, validator, publisher, clients

    def digests(self, present: Sequence[int]) -> list[str]:
        """Return the SHA-256 of every client's weights; empty for those who are not ``present`` or do not answer."""
        envelope = self._requests.at()
        envelope.digest.SetInParent()
        told = self._validator.digests(self._requests.answers(present, envelope, "done"))
        return [told.get(client, "") for client in range(self._clients)]

    def write(self, present: Sequence[int], *, best: bool) -> Tensor:
        """Have clients write snapshots, of the ``best`` weights so far or others.

        Returns
        -------
        Tensor
            The SHA-256 of each, uint8 ``[|C|, 32]``; zeros where none was written.
        """
        envelope = self._requests.at()
        envelope.snapshot.best = best
        rows = torch.zeros(self._clients, SHA_256_BYTES, dtype=torch.uint8)
        frames = self._requests.answers(present, envelope, "done")
        for client, digest in self._validator.digests(frames).items():
            rows[client] = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8)
        return rows

    def restore(self, digests: Mapping[int, str], heads: Weights, *, strict: bool) -> None:
        """Have clients restore the snapshots with these SHA-256s; ``heads`` are those that they had been given by then.

        Raises
        ------
        MissingSnapshot
            If a client no longer holds it, and training is ``strict`` about who takes part.
        """
        held, refused = self._requests.restore(digests)
        self._publisher.restore(heads)
        self._publisher.are_as_saved(held)
        if refused and strict:
            client, reason = min(refused.items())
            raise MissingSnapshot(f"client {client} has no snapshot of step {self._requests.steps} ({reason})")


def digests_in(rows: Tensor) -> dict[int, str]:
    """Return the SHA-256s that `ClientSnapshots.write` returned, by client."""
    return {client: bytes(row.tolist()).hex() for client, row in enumerate(rows) if bool(row.any())}
