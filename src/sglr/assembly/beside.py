"""What crosses beside learned values of a training: which of it the server takes, and whether it tells the inputs."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from sglr.assembly.segments import Segments
from sglr.splitting.bounds import bounds_beside
from sglr.splitting.crossing import Crossing
from sglr.splitting.nest import leaves_of

log = logging.getLogger(__name__)


def check_beside(segments: Segments, *, bounded: bool) -> tuple[tuple[int, int], ...]:
    """Warn where the inputs themselves go beside what is learned; return which integers the server's segment takes.

    Parameters
    ----------
    segments
        The training's.
    bounded
        Whether strangers send these, so that it matters.
    """
    crossing = segments.crossing
    if crossing is None or not crossing.beside:
        return ()
    with torch.no_grad(), torch.random.fork_rng([]):
        rows = segments.lower_of(0).eval()(segments.example)
    if told := _inputs_beside(crossing, rows, segments.example):
        log.warning("the server sees the inputs as they are: they go beside what is learned (%s); cut elsewhere", told)
    return bounds_beside(segments.upper, crossing, rows) if bounded else ()


def _inputs_beside(crossing: Crossing, rows: Tensor, example: Tensor) -> str:
    """Return the name of a value that is the inputs; empty if none is."""
    found = {id(leaf): leaf for leaf in leaves_of(crossing.unpack(rows)) if isinstance(leaf, Tensor)}.values()
    same = [leaf for leaf in found if leaf.dtype == example.dtype and torch.equal(leaf, example)]
    kinds = [value for value in crossing.beside if value.dtype == example.dtype and value.shape == example.shape[1:]]
    return str(kinds[0]) if same and kinds else ""
