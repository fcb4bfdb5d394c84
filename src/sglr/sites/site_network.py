"""A trained network between a site and a server: the client's layers here, the server's there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sglr.core.data import Inputs
from sglr.core.errors import UsageError
from sglr.core.task import Targets, Task
from sglr.engines.remote.client.predictions import ServerSegment
from sglr.engines.remote.limits import most_norm
from sglr.engines.remote.run_description import RunDescription
from sglr.parties.defences import DefenceChain

BATCH = 64
"""Samples of a request, unless the user says another number."""


@dataclass(frozen=True)
class SiteNetwork:
    """The client's layers of a trained network, and a connection to the server's.

    Parameters
    ----------
    description
        The run, as the server tells it.
    client
        Which client this is: some defences draw random numbers by it.
    lower, tail
        The client's first layers and its last, the identity where the server has these; in evaluation mode.
    server
        The server's layers.
    most
        Samples of a request at most.
    defences
        What the client does to smashed data before they leave.
    task
        What was learned.
    device
        Where the client's layers are.
    whose
        Whose layers answer, in a few words, such as ``"client 3"``.
    """

    description: RunDescription
    client: int
    lower: nn.Module
    tail: nn.Module
    server: ServerSegment
    most: int
    defences: DefenceChain
    task: Task
    device: torch.device
    whose: str

    @property
    def targets(self) -> Targets:
        """What the network's targets are."""
        return self.description.targets

    def outputs(self, inputs: Inputs, batch_size: int | None = None) -> Tensor:
        """Return the network's outputs ``[N, ...]`` of inputs ``[N, ...]``, on the CPU; as `batches`."""
        return torch.cat([found[0] for found in self.batches(inputs, batch_size)])

    def batches(self, inputs: Inputs, batch_size: int | None = None) -> Iterator[Tensor]:
        """Yield the outputs ``[1, m, ...]`` of m samples at a time, on the CPU.

        While the server answers some, the next go through the client's layers. What the defences change is the same as
        in the scores of the training, by a sample's place among ``inputs``.

        Parameters
        ----------
        inputs
            Samples ``[N, ...]``, as the network takes them.
        batch_size
            Samples of a request, `BATCH` by default; fewer go where so many don't fit a message.

        Raises
        ------
        UsageError
            If inputs have another shape or type than the run's, or smashed data are not finite or too large.
        SglrError
            If the server does not answer, or refuses.
        """
        size = BATCH if batch_size is None else batch_size
        self._check(inputs, size)
        for answer in self.server.outputs(self._smashed(inputs, min(size, self.most))):
            with torch.inference_mode():
                outputs = self.tail(answer.to(self.device)).float().cpu()
            yield outputs[None]

    def _check(self, inputs: Inputs, batch_size: int) -> None:
        if batch_size < 1:
            raise UsageError("batch_size", batch_size, "no samples in a request", "give 1 or more")
        if not len(inputs):
            raise UsageError("data", "0 samples", "there is nothing to predict", "give one sample at least")
        wanted = self.description.input_shape, self.description.input_type
        if (tuple(inputs.shape[1:]), str(inputs.dtype).removeprefix("torch.")) != wanted:
            problem = f"inputs are {list(inputs.shape[1:])} {inputs.dtype}, the run's {list(wanted[0])} {wanted[1]}"
            raise UsageError("data", f"{len(inputs)} samples", problem, "give samples like those of the training")

    def _smashed(self, inputs: Inputs, batch: int) -> Iterator[Tensor]:
        for first in range(0, len(inputs), batch):
            part = inputs[first : first + batch].to(self.device)
            if part.dim() == 4:
                part = part.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                smashed = self.lower(part).float().cpu()
                sent = self.defences.scored(smashed[None], (self.client,), first)[0]
            _check_values(sent, first)
            yield sent


def _check_values(smashed: Tensor, first: int) -> None:
    """Refuse to send what the server would refuse, and name the sample."""
    # NaN compares as False.
    if float(torch.linalg.vector_norm(smashed)) <= most_norm(smashed.numel()):
        return
    norms = torch.linalg.vector_norm(smashed.flatten(1), dim=1)
    worst = first + int(torch.nan_to_num(norms, nan=torch.inf).argmax())
    problem = "its smashed data are not finite, or too large"
    raise UsageError("data", f"sample {worst}", problem, "look at its values, and how they become inputs")
