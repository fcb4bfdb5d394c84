"""Compare what a file gives with what the original gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from sglr.core.errors import SglrError
from sglr.core.random import generator
from sglr.exporting.exporter import Runs
from sglr.exporting.pieces import Piece
from sglr.runs.data_record import DataRecord
from sglr.splitting.input_layout import InputLayout
from sglr.splitting.transformers import Transformer

TOLERANCE, COARSE = 1e-4, 1e-2
"""Largest difference that is accepted: of single precision, and where values are rounded to 16 bits or less inside."""

MADE_UP = 16
"""Inputs that are made up."""


class ExportDiffers(SglrError):  # noqa: N818 - says what was found
    """A file gives other outputs than the network that it was made of."""


@dataclass(frozen=True)
class Compared:
    """How far a file is from the original.

    Parameters
    ----------
    difference
        The largest difference of an output value, as a share of the largest value if that is above 1.
    tolerance
        The largest that is accepted.
    samples
        How many samples it was found on.
    """

    difference: float
    tolerance: float
    samples: int


def made_up_inputs(record: DataRecord, lower: nn.Module) -> Tensor:
    """Draw inputs ``[16, ...]``: numbers from a normal distribution, tokens that the client's layers embed.

    Parameters
    ----------
    record
        Tells their shape and type.
    lower
        The client's layers.
    """
    shape, dtype = (MADE_UP, *record.input_shape), getattr(torch, record.dtype)
    rng = generator(0, "inputs of an export's check")
    layout = InputLayout.of(record.encoding)
    if layout is None and (dtype.is_floating_point or dtype.is_complex):
        return torch.from_numpy(rng.standard_normal(shape)).to(dtype)
    if layout is not None:
        return layout.drawn(MADE_UP, 0, _tokens_of(lower)).to(dtype)
    found = torch.from_numpy(rng.integers(0, _tokens_of(lower), shape)).to(dtype)
    model = _transformer(lower)
    if model is not None and model.padding is not None:
        # Texts of all lengths, filled up.
        ends = torch.linspace(1, shape[1], MADE_UP).round()
        found = found.masked_fill(torch.arange(shape[1]) >= ends[:, None], model.padding)
    return found


def _tokens_of(lower: nn.Module) -> int:
    """Return how many tokens a client's layers embed: of a transformer, not how many positions or types of texts."""
    model = _transformer(lower)
    if model is not None:
        return int(model.base.config.vocab_size)
    # Numbers that nothing embeds: 0 and 1 are valid wherever any are.
    return min((module.num_embeddings for module in lower.modules() if isinstance(module, nn.Embedding)), default=2)


def _transformer(lower: nn.Module) -> Transformer | None:
    return next((module for module in lower.modules() if isinstance(module, Transformer)), None)


def compare(piece: Piece, runs: Runs, file: str) -> Compared:
    """Run a file and the original on the piece's inputs, in batches of several sizes.

    Raises
    ------
    ExportDiffers
        If an output differs by more than the tolerance.
    """
    worst = 0.0
    with torch.no_grad():
        for batch in _batches(piece.inputs):
            worst = max(worst, difference(runs(*piece.given(batch)), piece.original(batch)))
        wanted = piece.original(piece.inputs[:1])
    coarse = piece.lossy or wanted.dtype in (torch.float16, torch.bfloat16)
    found = Compared(worst, COARSE if coarse else TOLERANCE, len(piece.inputs))
    if not worst <= found.tolerance:
        told = f"its outputs differ from the network's by {worst:.2g}, and {found.tolerance:g} is accepted"
        raise ExportDiffers(f"{file}: {told}; nothing was exported; take another format, and report this")
    return found


def difference(found: Tensor, wanted: Tensor) -> float:
    """Return max |found - wanted| / max(1, max |wanted|); infinite if shapes, or what is NaN or infinite, differ."""
    if found.shape != wanted.shape:
        return float("inf")
    ours, theirs = (tensor.detach().double().numpy() for tensor in (wanted, found))
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.abs(theirs - ours))
    finite = np.abs(ours[np.isfinite(ours)]).max(initial=1.0)
    return float(np.nan_to_num(gaps, nan=np.inf, posinf=np.inf).max(initial=0.0) / finite)


def _batches(inputs: Tensor) -> Iterator[Tensor]:
    """Yield inputs ``[N, ...]`` in batches of 1, of 2, and of up to 5."""
    for first, end in pairwise([0, 1, 3, *range(8, len(inputs), 5), len(inputs)]):
        yield inputs[first:end]
