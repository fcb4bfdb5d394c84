"""Scrutiny: a client detects gradients that do not depend on its labels, such as those of a hijacking server."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sglr.core.defence import Defence, option
from sglr.core.errors import SglrError, UsageError
from sglr.core.method import Method
from sglr.core.task import Serves
from sglr.parties.defences import has

__all__ = ["Scrutiny"]

log = logging.getLogger(__name__)

HONEST = 0.3
"""Threshold that is safe where no client gets averages: honest trainings scored 0.54 or more (docs/attacks.md)."""


class HijackSuspected(SglrError):  # noqa: N818 - says what happened
    """A client's gradients do not look like those of a server that trains the task."""


@dataclass(frozen=True)
class Scrutiny(Defence):
    """Stop when gradients of equal labels are no more alike than others (after Fu et al., NDSS 2023).

    An honest server's gradient says where a sample's own class lies, so that within a batch those of equal labels point
    the same way more than others. The score is the mean cosine of pairs of equal labels less that of other pairs, over
    the pairs of the last ``window`` steps; it is looked at once the window is full. It needs no training of its own,
    nothing is sent, and a training that goes on is not changed by a bit.
    """

    serves: ClassVar[Serves] = Serves.CLASSES

    threshold: float = option(HONEST, "score below which a step is suspicious", above=-2, most=2)
    window: int = option(40, "steps that a score is taken over", least=1)
    patience: int = option(20, "suspicious steps in a row until it acts", least=1)
    stop: bool = option(True, "end the training; false: warn once")

    def check(self, method: Method, named: Sequence[tuple[str, Defence]] = ()) -> None:
        """Refuse settings with which an honest server's gradients depend too little on a client's own labels.

        Raises
        ------
        UsageError
            If another defence perturbs gradients to hide labels, as max-norm and marvell do, or the threshold is above
            0.3 (1 − φ), where a share φ of the clients gets averages by position.
        """
        for other, part in named:
            if has(part, "privatize_gradient"):
                problem = f"{other} makes gradients of an honest server look hijacked: that is how it hides labels"
                raise UsageError("defence", f"scrutiny with {other}", problem, "choose one of the two")
        if method.mixed_share == 1:
            problem = "everyone's gradients are averaged by position, so that those of an honest server look hijacked"
            raise UsageError("defence", "scrutiny", problem, "give a smaller phi, average = class, or leave it out")
        highest = HONEST * (1 - method.mixed_share)
        if self.threshold > highest + 1e-9:
            problem = f"with phi = {method.mixed_share:g} by position an honest server may score below it"
            raise UsageError(
                "defence", f"scrutiny:threshold={self.threshold:g}", problem, f"give {highest:.3g} or less"
            )

    def inspect_gradient(
        self, gradients: Tensor, labels: Tensor, client: int, memory: MutableMapping[str, Any]
    ) -> None:
        """Take in a step's gradients.

        Raises
        ------
        HijackSuspected
            If the score was too low for too many steps in a row.
        """
        seen: _Window = memory.setdefault("window", _Window(deque(maxlen=self.window)))
        seen.add(pairs(gradients, labels))
        score = seen.score()
        if len(seen.steps) < self.window or score is None:
            return
        seen.suspicious = seen.suspicious + 1 if score < self.threshold else 0
        if seen.suspicious < self.patience:
            return
        message = (
            f"client {client}: gradients of equal labels are no more alike than others (score {score:.3f}, threshold "
            f"{self.threshold:g}, {seen.suspicious} steps in a row), as from a server that does not train this task; "
            "leave this server, or, if you trust it, give a lower threshold"
        )
        if self.stop:
            raise HijackSuspected(message)
        if not memory.get("warned"):
            memory["warned"] = True
            log.warning("%s", message)

    def memory_state(self, memory: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the window and what was found in it."""
        if "window" not in memory:
            return {}
        seen: _Window = memory["window"]
        steps = torch.stack([*seen.steps]) if seen.steps else torch.zeros(0, 4, dtype=torch.float64)
        found = torch.tensor([seen.suspicious, bool(memory.get("warned"))])
        return {"steps": steps, "total": seen.total.clone(), "found": found}

    def memory_from(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the memory of a client that `memory_state` told."""
        suspicious, warned = tensors["found"].tolist()
        steps = deque(tensors["steps"].cpu(), maxlen=self.window)
        return {"window": _Window(steps, suspicious, tensors["total"].cpu().clone()), "warned": bool(warned)}


@dataclass
class _Window:
    """Sums over pairs of the last steps, and how many looks in a row were suspicious."""

    steps: deque[Tensor]
    suspicious: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))

    def add(self, sums: Tensor) -> None:
        """Take in a step's sums, forgetting the oldest's."""
        if len(self.steps) == self.steps.maxlen:
            self.total -= self.steps[0]
        self.steps.append(sums)
        self.total += sums

    def score(self) -> float | None:
        """Return the mean over pairs of equal labels less that over others; None while there are none of a kind."""
        alike, number_alike, other, number_other = self.total.tolist()
        if round(number_alike) == 0 or round(number_other) == 0:
            return None
        return float(alike / number_alike - other / number_other)


def pairs(gradients: Tensor, labels: Tensor) -> Tensor:
    """Return, of a batch, the sum of cosines and the number of pairs of equal labels, and the same of other pairs.

    Parameters
    ----------
    gradients, labels
        ``[b, ...]`` and ``[b]``. Gradients of zero, which point nowhere, are left out.

    Returns
    -------
    Tensor
        ``[4]`` in double precision, on the CPU.
    """
    rows = gradients.detach().flatten(1).double()
    # Norms may be tiny late in a training: they are made larger before they are divided by.
    rows = rows / rows.abs().amax().clamp(min=torch.finfo(rows.dtype).tiny)
    there = rows.abs().amax(1) > 0
    rows, labels = F.normalize(rows[there], dim=1), labels[there]
    first, second = torch.triu_indices(len(rows), len(rows), offset=1, device=rows.device)
    cosines = (rows @ rows.T)[first, second]
    equal = labels[first] == labels[second]
    found = [cosines[equal].sum(), equal.sum(), cosines[~equal].sum(), (~equal).sum()]
    return torch.stack([each.double() for each in found]).cpu()
