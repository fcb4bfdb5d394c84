"""The ends of a crossing, around the segments: a lower segment that packs, an upper one that unpacks, and an output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.splitting.crossing import Crossing
from sglr.splitting.nest import held_by

OUTPUTS = ("logits", "out", "output", "predictions")
"""Names of a model's output among several values, as transformers and torchvision have them, the best first."""


class _End(nn.Module):
    def __init__(self, segment: nn.Module, crossing: Crossing) -> None:
        super().__init__()
        self.segment, self.crossing = segment, crossing
        self.training = segment.training

    def extra_repr(self) -> str:
        """Say what crosses, on which both sides must agree."""
        return str(self.crossing)


class PackedSegment(_End):
    """A segment whose values leave it as rows.

    Parameters
    ----------
    segment
        The raw segment: inputs ``[b, ...]`` to any nest of values.
    crossing
        What crosses.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the rows ``[b, L + 2 M]`` of ``inputs``."""
        return self.crossing.pack(self.segment(inputs))


class UnpackedSegment(_End):
    """A segment that takes rows.

    Parameters
    ----------
    segment
        The raw segment: a nest of values to outputs.
    crossing
        What crosses.
    """

    def forward(self, rows: Tensor) -> Any:
        """Return the outputs for rows ``[b, L + 2 M]``."""
        return self.segment(self.crossing.unpack(rows))


class OneOutput(nn.Module):
    """A segment that returns several values, of which one is the model's output.

    Parameters
    ----------
    segment
        The segment.
    key
        The output's name or number among the values.
    """

    def __init__(self, segment: nn.Module, key: str | int) -> None:
        super().__init__()
        self.segment, self.key = segment, key
        self.training = segment.training

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the model's output ``[b, ...]``."""
        held = held_by(self.segment(inputs))
        assert held is not None, "several values"
        output: Tensor = held[self.key]
        return output

    def extra_repr(self) -> str:
        """Say which value it is."""
        return f"output={self.key!r}"


def output_key(values: Any) -> str | int:
    """Return the name or number of a model's output among the values that it returns.

    Raises
    ------
    UsageError
        If it can't be told which one it is.
    """
    named = held_by(values) or {}
    tensors: list[str | int] = [key for key, value in named.items() if isinstance(value, Tensor)]
    if len(tensors) == 1:
        return tensors[0]
    for name in OUTPUTS:
        if name in tensors:
            return name
    kind = type(values).__name__
    if not tensors:
        problem = f"returns a {kind} without a tensor"
    else:
        problem = f"returns a {kind} with {len(tensors)} tensors ({', '.join(map(str, tensors))}): which is its output?"
    raise UsageError("model", kind, problem, "return one tensor, or name it 'logits'")


def crossing_of(segment: nn.Module) -> Crossing | None:
    """Return what leaves a client's lower segment, where it is packed; None if one tensor leaves it."""
    for module in segment.modules():
        if isinstance(module, PackedSegment):
            return None if module.crossing.single else module.crossing
    return None


class MainValue(nn.Module):
    """The first learned value of rows, in its own shape: what a head or a decoder takes.

    Parameters
    ----------
    crossing
        What crosses.
    """

    def __init__(self, crossing: Crossing) -> None:
        super().__init__()
        self.value = crossing.learned[0]

    def forward(self, rows: Tensor) -> Tensor:
        """Return the value ``[b, ...]`` of rows ``[b, L + 2 M]``."""
        part = rows[:, : self.value.size].clone(memory_format=torch.contiguous_format)
        return part.reshape(-1, *self.value.shape)


def main_value(lower: nn.Module) -> nn.Module:
    """Return what gives a head its input: all smashed data, or the first value of those that are packed."""
    crossing = crossing_of(lower)
    return nn.Identity() if crossing is None else MainValue(crossing)


def behind(main: nn.Module, head: nn.Module) -> nn.Module:
    """Return a head that takes all smashed data, of which ``main`` gives it its input."""
    return head if isinstance(main, nn.Identity) else nn.Sequential(main, head)
