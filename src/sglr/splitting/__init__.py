"""Cut a model: the client's lower segment and the server's upper one, and optionally a tail or a head at the client."""

from __future__ import annotations

from sglr.splitting.check import Split, check_segments
from sglr.splitting.crossing import Crossing
from sglr.splitting.cut import cut_points, split
from sglr.splitting.decoders import build_decoder
from sglr.splitting.heads import HeadedSegment, build_head, check_head, given_head
from sglr.splitting.packed import crossing_of
from sglr.splitting.places import Place, every_cut
from sglr.splitting.single_samples import needing_two
from sglr.splitting.u_shape import ClientSegments, Thirds, features_of, parts_of, split_in_three

__all__ = [
    "ClientSegments",
    "Crossing",
    "HeadedSegment",
    "Place",
    "Split",
    "Thirds",
    "build_decoder",
    "build_head",
    "check_head",
    "check_segments",
    "crossing_of",
    "cut_points",
    "every_cut",
    "features_of",
    "given_head",
    "needing_two",
    "parts_of",
    "split",
    "split_in_three",
]
