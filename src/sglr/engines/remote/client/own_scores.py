"""Scores of a client's own held-out samples, where labels stay with it: sums over messages that stay here, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sglr.core.scores import added
from sglr.core.task import Sums, Task
from sglr.engines.remote.client.tail import tally
from sglr.engines.remote.told import HeldOutTally, told


class _Part(NamedTuple):
    """The first samples of a part, and their sums."""

    samples: int
    sums: Sums


class OwnScores:
    """Adds up what held-out samples come to, message by message.

    Parameters
    ----------
    task
        What is learned.
    totals
        How many samples each part has, ``"validation"`` and ``"test"``.
    """

    def __init__(self, task: Task, totals: Mapping[str, int]) -> None:
        self._task, self._totals = task, totals
        self._seen: dict[str, _Part] = {}

    def add(self, part: str, first: int, outputs: Tensor, targets: Tensor) -> HeldOutTally:
        """Return what the samples from ``first`` on come to, and with the last one the scores of all.

        Scores need all messages in their order: who comes back in between tells none.

        Parameters
        ----------
        part
            Whose samples they are.
        first
            The place of the first of these m samples.
        outputs, targets
            ``[m, ...]``.
        """
        found = tally(self._task, outputs, targets)
        with torch.no_grad():
            self._note(part, first, len(targets), self._task.sums(outputs[None], targets))
        seen = self._seen.get(part)
        whole = seen is not None and seen.samples == self._totals[part]
        scores = told(self._calibrated(part), seen.sums) if seen is not None and whole else {}
        return HeldOutTally(found.loss, found.correct, found.samples, scores=scores)

    def _note(self, part: str, first: int, count: int, sums: Sums) -> None:
        before = self._seen.pop(part, None)
        if first == 0:
            self._seen[part] = _Part(count, sums)
        elif before is not None and before.samples == first:
            self._seen[part] = _Part(first + count, added([before.sums, sums]))

    def _calibrated(self, part: str) -> Task:
        """Return the task with what the own validation samples choose, for a test."""
        validation = self._seen.get("validation")
        if part != "test" or validation is None or validation.samples < self._totals["validation"]:
            return self._task
        return self._task.calibrated(validation.sums)
