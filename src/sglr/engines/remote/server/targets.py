"""What targets clients may send: those that the run's targets and task allow, so that every loss of them is finite."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sglr.core.errors import ExtremeValues
from sglr.core.task import Targets, Task
from sglr.engines.remote.limits import MOST_RMS
from sglr.engines.remote.told import rounded, told_names
from sglr.engines.remote.wire.frames import Malformed
from sglr.engines.remote.wire.layouts import check_numbers

MOST_TARGET_LOSS = MOST_RMS**2
"""The largest loss of a measurement at outputs of zero: for squared errors, `MOST_RMS` in the task's units."""


class SentTargets:
    """Checks targets that come with smashed data, and hits and scores that clients tell.

    Parameters
    ----------
    targets
        What the run's targets are.
    task
        What is learned.

    Attributes
    ----------
    targets
        As given.
    output_shape
        Shape of the network's output for one sample.
    """

    def __init__(self, targets: Targets, task: Task) -> None:
        self.targets, self._task = targets, task
        self.output_shape = task.output_shape(targets)
        self._names = told_names(task, targets)
        nothing = self._outputs(1), self.room(1)
        with torch.no_grad():
            self._has_hits = task.hits(*nothing) is not None
            # A task of the user's own may have no loss at outputs of zero.
            self._bounded = not targets.classes and bool(task.losses(*nothing).isfinite().all())

    def room(self, *samples: int) -> Tensor:
        """Return room for the targets of samples, zeros ``[*samples, ...]``."""
        return torch.zeros(*samples, *self.targets.shape, dtype=self.targets.torch_dtype)

    def _outputs(self, samples: int) -> Tensor:
        return torch.zeros(samples, *self.output_shape)

    def check(self, values: Tensor) -> None:
        """Check targets ``[b, ...]`` of one client.

        Raises
        ------
        Malformed
            If a number is no class and not ignored by the task, or a measurement is not finite.
        ExtremeValues
            If a measurement is so large that its loss would rule the step.
        """
        if self.targets.classes:
            check_numbers(values, self.targets.classes, self._task.ignored)
        elif not bool(values.isfinite().all()):
            raise Malformed("a target is not finite")
        elif self._bounded and len(values):
            with torch.no_grad():
                losses = self._task.losses(self._outputs(len(values)), values)
            # NaN compares as False.
            if not float(losses.max()) <= MOST_TARGET_LOSS:
                raise ExtremeValues("its targets are too large for the task (target_mean, target_scale)")

    def scores(self, told: Mapping[str, float]) -> dict[str, float]:
        """Return the scores that a client tells, in the task's order; NaN for those that are not finite.

        Raises
        ------
        Malformed
            If one is none of those that clients tell.
        """
        if not told.keys() <= set(self._names):
            raise Malformed("it tells scores that nobody asked for")
        return {name: rounded(told[name]) for name in self._names if name in told}

    def check_hits(self, hits: float, samples: int, problem: str = "more correct samples than there are") -> None:
        """Check how many of so many samples a client says are right, in sum; ``problem`` is told of it.

        Raises
        ------
        Malformed
            If they are more than there are, or not told; or told where the task knows no right and wrong.
        """
        possible = 0 <= hits <= samples if self._has_hits else -math.inf < hits < 0  # sums of NO_HITS
        if not possible:
            raise Malformed(problem)
