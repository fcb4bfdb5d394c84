"""A trained network between a site and a server: the client's layers here, the server's there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.data import Inputs
from sglr.core.errors import UsageError
from sglr.core.task import Targets, Task
from sglr.data.new_samples import NewSamples, TrainedOn
from sglr.data.read_new import read_new
from sglr.data.schema import schema_type
from sglr.engines.remote.client.predictions import ServerSegment
from sglr.engines.remote.limits import most_norm
from sglr.engines.remote.run_description import RunDescription
from sglr.inference.early_exit import answered_for, check_entropy
from sglr.parties.defences import DefenceChain
from sglr.sites.bounds import refuse_enlargement
from sglr.sites.own_data import check_stated
from sglr.sites.own_head import OwnHead

BATCH_BYTES = 1 << 20
"""Bytes of the smashed data of one request, unless the user gives a number of samples."""


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
    layers
        Whose layers answer, in a few words, such as ``"client 3"``.
    seed
        The run's, for the draws of intervals.
    epoch
        The epoch that the weights are of, which the server does not tell.
    head
        The client's head, from smashed data to outputs, in evaluation mode; None if it has none.
    own_head
        What answers at the site, for some samples or all; None if the server does for all.
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
    layers: str
    seed: int = 0
    epoch: None = None
    head: nn.Module | None = None
    own_head: OwnHead | None = None

    def alone(self) -> SiteNetwork:
        """Return the network without the server: no sample leaves the site, and the client's head answers.

        Raises
        ------
        UsageError
            If the client has no head.
        """
        return replace(self, own_head=OwnHead(self._require_head("head", True), None, self.device))

    def early_exit(self, entropy: float) -> SiteNetwork:
        """Return the network whose head answers where it is sure; the other samples are sent to the server (SplitGP).

        Parameters
        ----------
        entropy
            Up to which entropy of its softmax the head answers, in nats: 0 to ln K of K classes.

        Raises
        ------
        UsageError
            If the client has no head, it is no entropy, or samples have no classes.
        """
        head = self._require_head("head_entropy", entropy)
        check_entropy(entropy, self.task, self.targets)
        return replace(self, own_head=OwnHead(head, entropy, self.device))

    def _require_head(self, field: str, value: object) -> nn.Module:
        if self.head is None:
            problem = (
                f"clients of method {self.description.settings.get('method')} have no heads, and can't answer alone"
            )
            raise UsageError(field, value, problem, "leave it out")
        return self.head

    @property
    def whose(self) -> str:
        """Whose layers answer, in words; and for how many samples the head did, where it may."""
        own = self.own_head
        return self.layers if own is None else self.layers + answered_for(own.asked, own.alone)

    @property
    def targets(self) -> Targets:
        """What the network's targets are."""
        return self.description.targets

    @property
    def origin(self) -> str:
        """The address of the server."""
        return self.server.address

    def own_test(self) -> NewSamples:
        """Refuse: neither this site nor the server has the test samples of the run.

        Raises
        ------
        UsageError
            Always.
        """
        raise UsageError("data", "none", "the run's test samples are not here", "give data with targets: --data PATH")

    def read(self, data: Any, **options: Any) -> NewSamples:
        """Return this site's new data as inputs of the network, as those of the training were.

        What the server says of the inputs is compared with the data, and never chooses which are read.

        Parameters
        ----------
        data, options
            As for `sglr.data.read_new.read_new`.

        Raises
        ------
        UsageError
            If they can't be read, or what the server says is out of all proportion to them.
        """
        stated = self.description
        if schema_type(str(stated.encoding.get("kind"))) is not None:
            check_stated(stated.encoding, stated.input_shape)
        if isinstance(data, str | Path) and Path(data).is_dir() and len(stated.input_shape) == 3:
            refuse_enlargement(Path(data), stated.input_shape[1], "if so, give larger pictures")
        trained = TrainedOn(stated.input_shape, stated.input_type, stated.targets, stated.encoding)
        return read_new(data, trained, **options)

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
            Samples of a request; as many as fit a message at most, and `BATCH_BYTES` by default.

        Raises
        ------
        UsageError
            If inputs have another shape or type than the run's, or smashed data are not finite or too large.
        SglrError
            If the server does not answer, or refuses.
        """
        sample = 4 * torch.Size(self.description.cut_shape).numel()
        size = max(1, BATCH_BYTES // sample) if batch_size is None else batch_size
        self._check(inputs, size)
        smashed = self._smashed(inputs, min(size, self.most))
        if self.own_head is not None:
            yield from (found[None] for found in self.own_head.outputs(smashed, self._sent, self.server.outputs))
            return
        for answer in self.server.outputs(self._sent(first, part) for first, part in smashed):
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

    def _smashed(self, inputs: Inputs, batch: int) -> Iterator[tuple[int, Tensor]]:
        """Yield the place of the first of some samples, and their smashed data on the CPU."""
        for first in range(0, len(inputs), batch):
            part = inputs[first : first + batch].to(self.device)
            if part.dim() == 4:
                part = part.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                smashed = self.lower(part).float().cpu()
            yield first, smashed

    def _sent(self, first: int, smashed: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Return what leaves the site of smashed data, of all samples or those ``chosen``, bool ``[b]``."""
        places = torch.arange(first, first + len(smashed))
        with torch.inference_mode():
            sent = self.defences.scored(smashed[None], (self.client,), first)[0]
        if chosen is not None:
            sent, places = sent[chosen], places[chosen]
        _check_values(sent, places)
        return sent


def _check_values(smashed: Tensor, places: Tensor) -> None:
    """Refuse to send what the server would refuse, and name the sample."""
    # NaN compares as False.
    if float(torch.linalg.vector_norm(smashed)) <= most_norm(smashed.numel()):
        return
    norms = torch.linalg.vector_norm(smashed.flatten(1), dim=1)
    worst = int(places[torch.nan_to_num(norms, nan=torch.inf).argmax()])
    problem = "its smashed data are not finite, or too large"
    raise UsageError("data", f"sample {worst}", problem, "look at its values, and how they become inputs")
