"""What crosses beside learned values of a training: which of it the server takes, and whether it tells the inputs."""

from __future__ import annotations

import copy
import dataclasses
import logging

import torch
from torch import Tensor

from sglr.assembly.segments import End, Segments
from sglr.compression.several_cuts import CutCodecs
from sglr.core.codec import Codec, CodecByCut
from sglr.parties.packed_codec import packed_codec
from sglr.parties.spec import ClientSpec
from sglr.splitting.bounds import bounds_beside
from sglr.splitting.crossing import Crossing
from sglr.splitting.nest import leaves_of

log = logging.getLogger(__name__)


def codec_of(segments: Segments, codec: Codec, *, bounded: bool) -> CodecByCut:
    """Return how smashed data of a training are written, whose numbers are written by ``codec``.

    Parameters
    ----------
    segments
        The training's.
    codec
        How learned values are written.
    bounded
        Whether strangers send what is beside them, so that it matters which integers the server's segment takes.
    """
    each = [packed_codec(codec, end.crossing, check_beside(end, segments.example, bounded)) for end in segments.ends()]
    return each[0] if segments.cuts is None else CutCodecs(codecs=tuple(each))


def written_by(spec: ClientSpec, codec: CodecByCut, segments: Segments) -> ClientSpec:
    """Return what clients need with how they write what crosses, those of each cut by its own codec and defences."""
    whole = dataclasses.replace(spec, codec=codec)
    if segments.cuts is None:
        return whole
    named = spec.experiment.model_copy(update={"cuts": segments.cut})  # which sites are told
    whole = dataclasses.replace(whole, experiment=named)
    ends = enumerate(segments.ends())
    own = [(codec.of_cut(cut), segments.defences.over(end.crossing)) for cut, end in ends]
    each = tuple(dataclasses.replace(spec, codec=codec, defences=defences) for codec, defences in own)
    return dataclasses.replace(whole, cuts=segments.cuts, of_cuts=each)


def check_beside(end: End, example: Tensor, bounded: bool) -> tuple[tuple[int, int], ...]:
    """Warn where the inputs themselves go beside what is learned; return which integers the server's segment takes."""
    crossing = end.crossing
    if crossing is None or not crossing.beside:
        return ()
    with torch.no_grad(), torch.random.fork_rng([]):
        rows = copy.deepcopy(end.lower).eval()(example)
    if told := _inputs_beside(crossing, rows, example):
        log.warning("the server sees the inputs as they are: they go beside what is learned (%s); cut elsewhere", told)
    return bounds_beside(end.upper, crossing, rows) if bounded else ()


def _inputs_beside(crossing: Crossing, rows: Tensor, example: Tensor) -> str:
    """Return the name of a value that is the inputs; empty if none is."""
    found = {id(leaf): leaf for leaf in leaves_of(crossing.unpack(rows)) if isinstance(leaf, Tensor)}.values()
    same = [leaf for leaf in found if leaf.dtype == example.dtype and torch.equal(leaf, example)]
    kinds = [value for value in crossing.beside if value.dtype == example.dtype and value.shape == example.shape[1:]]
    return str(kinds[0]) if same and kinds else ""
