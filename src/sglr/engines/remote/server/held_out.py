"""Scores of held-out samples that lie with the clients: which client is asked for which samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import nn

from sglr.core.errors import SglrError
from sglr.core.scores import Scores
from sglr.core.task import Task
from sglr.core.weights import Weights
from sglr.engines.remote.server.evaluation import Sent, score
from sglr.engines.remote.server.forms import Forms
from sglr.engines.remote.server.requests import RequestSender
from sglr.engines.remote.server.tails import Tails
from sglr.engines.remote.server.validation import MessageValidator
from sglr.engines.remote.wire.frames import Frame


class HeldOut:
    """Asks clients to run their segments on held-out samples of their own.

    Parameters
    ----------
    requests, validator
        Send requests, and read the answers.
    tails
        Ask clients that keep their labels; None where the server has the labels.
    most
        Samples of one client in one message.
    task
        What is learned.
    forms
        What each client sends and holds.
    """

    def __init__(
        self,
        requests: RequestSender,
        validator: MessageValidator,
        tails: Tails | None,
        most: int,
        task: Task,
        forms: Forms,
    ) -> None:
        self._requests, self._validator, self._tails, self._most = requests, validator, tails, most
        self._task, self._forms = task, forms

    def scored(
        self,
        server: nn.Module,
        able: Mapping[int, int],
        part: str,
        clients: Sequence[int],
        shared: Weights | None,
        parts: int = 1,
    ) -> Scores:
        """Score some of the clients that have samples, or all of them where ``clients`` is empty.

        Shared weights are scored by the first client, or by the next one if its values can't be used.

        Parameters
        ----------
        server
            The server's segment.
        able
            How many samples each connected client has.
        part
            Which samples.
        clients
            The clients to score, if they have samples.
        shared
            Weights to use instead of the clients' own, or None.
        parts
            Of how many parts of each client's samples sums are kept apart.

        Returns
        -------
        Scores
            NaN where no client stayed to the end of a validation.

        Raises
        ------
        SglrError
            If no client stayed to the end of a test, without which a run has no result.
        """
        chosen = [client for client in clients if client in able]
        if not clients:
            groups = [list(able)]
        elif shared is None:
            groups = [chosen or list(able)[:1]]
        else:
            groups = [[client] for client in dict.fromkeys([*chosen, *able])]
        scores: Scores | None = None
        for group in groups:
            scores = self._scored(server, {client: able[client] for client in group}, part, shared, parts) or scores
            if scores is not None and bool(scores.loss.isfinite().any()):
                break
        return scores or self._of_nobody(part)

    def _of_nobody(self, part: str) -> Scores:
        if part == "test":
            raise SglrError("no client stayed to the end of the test; resume the run to test again")
        unknown = torch.tensor([torch.nan])
        return Scores({self._task.headline: unknown}, unknown)

    def _scored(
        self, server: nn.Module, totals: Mapping[int, int], part: str, shared: Weights | None, parts: int
    ) -> Scores | None:

        def held_out(asked: list[int], first: int) -> Mapping[int, Sent]:
            envelope = self._requests.at()
            told = envelope.evaluate
            told.part, told.first, told.count = part, first, self._most
            weights = {name: tensor.cpu() for name, tensor in shared.items()} if shared else {}
            frames: dict[int, Frame] = {}
            for group in self._forms.groups(asked) if weights else [tuple(asked)]:
                held = self._forms.held(weights, group[0]) if weights and group else {}
                told.shared = bool(held)  # who holds none scores what it has
                sent = held if first == 0 else {}
                frames |= self._requests.answers(list(group), envelope, "scores", tensors=sent)
            return self._validator.samples(
                frames, {client: min(self._most, totals[client] - first) for client in frames}
            )

        answers = partial(self._tails.scored, part=part, shared=shared is not None) if self._tails else None
        servers = partial(self._forms.server_of, server.eval())
        return score(servers, totals, self._most, held_out, answers, self._task, parts)
