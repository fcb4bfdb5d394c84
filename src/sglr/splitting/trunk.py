"""The server's segment where clients are cut at several places: one trunk in stages, with an entry at each cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sglr.core.cuts.cut_rows import of_rows, width_of


class Trunk(nn.Module):
    """All layers behind the first cut, in stages: from each cut to the next, the last behind all of them.

    A sample enters at its client's cut. A stage runs once, on all samples that pass it, so that layers that normalise
    by batch see them together.

    Parameters
    ----------
    stages
        Each takes what crosses its cut ``[n, ...]``, and returns what crosses the next; the last returns outputs.
    shapes
        Shape of one sample's smashed data at each cut.
    layers
        Of every stage, the names of its weights and buffers as clients have them that hold it, by its own names.

    Attributes
    ----------
    arrived
        How many samples entered at each cut in the last pass.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        shapes: Sequence[tuple[int, ...]],
        layers: Sequence[Mapping[str, str]],
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.shapes, self.layers = tuple(shapes), tuple(layers)
        self.arrived: tuple[int, ...] = (0,) * len(stages)
        self.training = stages[-1].training

    @property
    def width(self) -> int:
        """W, numbers of one sample's row."""
        return width_of(self.shapes)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the outputs ``[N, ...]`` of rows ``[N, W]`` of any cuts (`sglr.core.cuts.cut_rows`)."""
        cuts = rows[:, -1].detach()
        entering = [torch.nonzero(cuts == cut).flatten() for cut in range(len(self.stages))]
        order: list[Tensor] = []
        values: Tensor | None = None
        for stage, own, shape in zip(self.stages, entering, self.shapes, strict=True):
            if len(own):
                entered = of_rows(rows if len(own) == len(rows) else rows[own], shape)
                values = _images_last(entered if values is None else torch.cat([values, entered]))
                order.append(own)
            if values is not None:
                values = stage(values)
        self.arrived = tuple(map(len, entering))
        assert values is not None, "a batch has samples"
        return values if len(order) == 1 else values[torch.argsort(torch.cat(order))]

    def stage_of(self, name: str) -> int:
        """Return the stage that a weight or buffer of this name belongs to."""
        return int(name.split(".")[1])

    def extra_repr(self) -> str:
        """Say what crosses at each cut."""
        return f"shapes={self.shapes}"


def entered(segment: nn.Module, cut: int) -> nn.Module:
    """Return the server's segment as clients of a cut know it: itself, or the stages of a trunk behind that cut.

    The stages are the trunk's own, not copies; they take smashed data ``[n, ...]`` of the cut in their own shape.
    """
    if not isinstance(segment, Trunk):
        return segment
    behind = nn.Sequential(*segment.stages[cut:])
    behind.training = segment.training
    return behind


def _images_last(values: Tensor) -> Tensor:
    """Return images channels-last, which is faster on a CPU."""
    return values.contiguous(memory_format=torch.channels_last) if values.dim() == 4 else values
