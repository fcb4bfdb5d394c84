"""Trace a segment with ``torch.export``, for batches of any size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from sglr.core.errors import UsageError
from sglr.exporting.exporter import Exporter, one_line, quietly
from sglr.exporting.pieces import Piece
from sglr.splitting.input_layout import InputLayout


class Named(nn.Module):
    """A segment whose input has the same name in every format, and whose weights have names that each one takes.

    Parameters
    ----------
    segment
        The segment.
    """

    def __init__(self, segment: nn.Module) -> None:
        super().__init__()
        self.segment = segment

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of the input in the files
        """Return the segment's output."""
        output: Tensor = self.segment(input)
        return output


class NamedInputs(nn.Module):
    """A segment that takes several inputs, each by itself.

    Parameters
    ----------
    segment
        The segment, which takes rows.
    layout
        What a row holds.
    """

    def __init__(self, segment: nn.Module, layout: InputLayout) -> None:
        super().__init__()
        self.segment, self.layout = segment, layout

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the segment's output for inputs in the layout's order."""
        output: Tensor = self.segment(self.layout.joined(inputs))
        return output


def traced(piece: Piece, exporter: Exporter, model: str) -> ExportedProgram:
    """Return a segment as a graph.

    Raises
    ------
    UsageError
        If it can't be traced: the message tells torch's reason.
    """
    batch = Dim("batch", min=1, max=exporter.most_batch)
    with untraceable(piece, model, "torch.export can't trace"), quietly(), torch.no_grad():
        given = piece.given(piece.inputs[:2])
        if piece.layout is None:
            return torch.export.export(Named(piece.module), given, dynamic_shapes={"input": {0: batch}})
        shapes = {"inputs": tuple({0: batch} for _ in given)}
        return torch.export.export(NamedInputs(piece.module, piece.layout), given, dynamic_shapes=shapes)


@contextmanager
def untraceable(piece: Piece, model: str, what: str) -> Iterator[None]:
    """Report that a user's layers can't be exported, with the reason that a library gives.

    Raises
    ------
    UsageError
        Instead of any other error.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # of torch and of formats' libraries, by any operation that they don't have
        remedy = (
            "write these layers without choices that depend on values or on the size of a batch, or take another format"
        )
        raise UsageError("model", model, f"{what} its part {piece.name} ({one_line(error)})", remedy) from error
