"""Data that stay at the sites that join: nothing of them is here but the shape of an input and the classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError

__all__ = ["Sites"]


@dataclass(frozen=True)
class Sites:
    """What the operator of a server tells of data that each site has for itself."""

    input_shape: tuple[int, ...] = field(default=(), metadata={"help": "shape of one input, such as 1,28,28"})
    classes: int | tuple[str, ...] = field(
        default=(), metadata={"help": "the classes in their order; or their number, if they are called 0, 1, 2 …"}
    )

    def load(self, data_dir: Path | None) -> Dataset:
        """Return a data set without samples; ``data_dir`` is not needed.

        Raises
        ------
        UsageError
            If the shape or the classes are not told, or make no sense.
        """
        del data_dir
        if not self.input_shape or min(self.input_shape) < 1:
            shown = ",".join(map(str, self.input_shape)) or "none"
            raise UsageError("input_shape", shown, "what the sites' inputs look like must be told", "give e.g. 1,28,28")
        none = Samples(torch.zeros(0, *self.input_shape), torch.zeros(0, dtype=torch.int64))
        return Dataset("sites", none, none, self._names())

    def _names(self) -> tuple[str, ...]:
        classes = self.classes
        if isinstance(classes, tuple) and len(classes) == 1 and classes[0].isdigit():
            classes = int(classes[0])
        names = tuple(map(str, range(classes))) if isinstance(classes, int) else classes
        if len(names) < 2 or len(set(names)) < len(names):
            problem = "learning needs two classes or more, each with a name of its own"
            shown = str(classes) if isinstance(classes, int) else ",".join(classes) or "none"
            raise UsageError("classes", shown, problem, "give e.g. healthy,ill or a number")
        return names
