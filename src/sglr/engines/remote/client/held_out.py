"""One client's held-out samples: what it sends of them, or what they come to where labels stay with it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sglr.core.weights import Weights, state_of
from sglr.engines.remote.client.job import Job
from sglr.engines.remote.client.own_scores import OwnScores
from sglr.engines.remote.segment_hash import features_of
from sglr.engines.remote.told import HeldOutTally
from sglr.splitting import parts_of
from sglr.splitting.segment_weights import load_state
from sglr.stacking.stack import Stack


class HeldOut:
    """Runs a client's held-out samples through its own segment, or one with weights that clients share.

    Parameters
    ----------
    job
        What the client trains, and its held-out samples.
    stack
        Its segment.
    """

    def __init__(self, job: Job, stack: Stack) -> None:
        self._job, self._stack = job, stack
        self._keeps_tail = features_of(job.segment) is not None
        self._shared: nn.Module | None = None
        self._own_scores = OwnScores(job.task, {name: len(samples) for name, samples in job.held.items()})

    def refuse_labels(self) -> None:
        """Raise ValueError if labels would go with smashed data and must not."""
        if self._job.keep_labels and not self._keeps_tail:
            raise ValueError("labels stay with this client")

    @property
    def shared(self) -> dict[str, Tensor]:
        """The weights ``[...]`` of the segment that scores with shared weights; empty if none were sent."""
        return {} if self._shared is None else dict(state_of(self._shared))

    def take_shared(self, shared: Weights) -> None:
        """Score with these shared weights ``[...]``, where they are asked for; others are the segment's own."""
        self._shared = copy.deepcopy(self._job.segment).to(self._job.device).eval()
        load_state(self._shared, {name: shared[name] for name in state_of(self._shared) if name in shared})

    def score(self, part: str, first: int, count: int, shared: Weights | None, *, again: bool) -> dict[str, Tensor]:
        """Return smashed data and labels of some held-out samples, in evaluation mode.

        Parameters
        ----------
        part
            A name of ``held``.
        first, count
            Which samples.
        shared
            Weights to use instead of the own, or None.
        again
            Use the shared weights of the call before.

        Raises
        ------
        ValueError
            If labels must stay here, or there are no shared weights.
        """
        self.refuse_labels()
        smashed = self._outputs(part, first, count, shared, again=again)
        sent = self._job.defences.scored(smashed.cpu()[None], (self._job.client,), first)[0]
        parts = self._job.codec.encode(sent)
        labels = self._job.held[part].targets[first : first + count]
        return parts if self._keeps_tail else {**parts, "labels": labels}

    def score_alone(self, part: str, first: int, count: int, shared: Weights | None, *, again: bool) -> HeldOutTally:
        """Score some held-out samples with the whole model, where labels must stay here; as `score`."""
        return self._scored(part, first, self._outputs(part, first, count, shared, again=again))

    def _outputs(self, part: str, first: int, count: int, shared: Weights | None, *, again: bool) -> Tensor:
        inputs = channels_last(self._job.held[part].inputs[first : first + count].to(self._job.device))
        if shared is not None:
            self.take_shared(shared)
        if again or shared is not None:
            if self._shared is None:
                raise ValueError("no shared weights were sent before")
            with torch.no_grad():
                outputs: Tensor = self._shared(inputs)
                return outputs
        return self._stack.predict((0,), inputs)[0]

    def score_features(self, part: str, first: int, features: Tensor, *, shared: bool) -> HeldOutTally:
        """Score held-out samples from a first one on by their features ``[m, ...]``, with the tail of `score`."""
        here = features.to(self._job.device)
        if not shared:
            assert self._stack.tail is not None, "this client has a tail"
            return self._scored(part, first, self._stack.tail.predict((0,), here[None])[0])
        if self._shared is None:
            raise ValueError("no shared weights were sent before")
        with torch.no_grad():
            return self._scored(part, first, parts_of(self._shared)[1](here))

    def _scored(self, part: str, first: int, outputs: Tensor) -> HeldOutTally:
        targets = self._job.held[part].targets[first : first + len(outputs)]
        return self._own_scores.add(part, first, outputs.cpu(), targets)


def channels_last(inputs: Tensor) -> Tensor:
    """Return inputs ``[b, ...]``, images with their channels last in memory, which convolutions are faster with."""
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs
