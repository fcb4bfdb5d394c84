"""One client's head, or decoder: its own smashed data in, gradients by them and the loss out."""

from __future__ import annotations

import torch
from torch import Tensor

from sglr.core.types import Answer
from sglr.engines.remote.client.job import Job
from sglr.parties.client_loss import ClientLoss, log_prior
from sglr.parties.decoder_loss import DecoderLoss
from sglr.parties.tails import TailStep
from sglr.stacking.passes import Pass
from sglr.stacking.stack import Stack


class ClientHead:
    """What a client with a head, or a decoder, does with its own smashed data.

    Parameters
    ----------
    job
        What the client trains.
    targets
        Its targets ``[|D_i|, ...]``.
    classes
        K, or 0 where samples have no single class.

    Attributes
    ----------
    alone
        Whether the client learns by its loss alone, and no gradients come.
    given
        Whether the server sends it.
    """

    def __init__(self, job: Job, targets: Tensor, classes: int) -> None:
        self._client, self._decodes = job.client, job.decoder_weight is not None
        self._loss: ClientLoss | DecoderLoss = ClientLoss(job.task, job.label_prior != "ignore", job.head_weight)
        if job.decoder_weight is not None:
            self._loss = DecoderLoss(job.decoder_weight)
        self._log_prior = log_prior(targets, classes) if self._loss.corrects_prior else torch.empty(0)
        self.alone = job.head_weight == 1 and not self._decodes
        self.given = job.keeps_head and not self._decodes

    def answer(self, stack: Stack, forward: Pass, inputs: Tensor, targets: Tensor) -> tuple[TailStep, Answer]:
        """Find the loss at the smashed data of a pass, of samples with ``inputs`` and ``targets``, ``[b, ...]``.

        Returns
        -------
        tuple
            The step, which has the head's gradients, and what it answers.
        """
        assert stack.head is not None, "this client has a head"
        wanted, who = (inputs if self._decodes else targets)[None], (self._client,)
        step = TailStep(stack.head, self._loss, lambda _: self._log_prior, who, wanted, [([0], forward)])
        return step, step.answer(forward.outputs, who)
