"""Codecs of clients that are cut at several places: each cut's own, never one of several cuts' rows."""

from __future__ import annotations

import torch

from sglr.compression.channels import Channels
from sglr.compression.codecs import Int8
from sglr.compression.several_cuts import CutChannels, CutCodecs, channels_of
from sglr.core.codec import Codec, Plain
from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.cuts.cut_rows import to_rows
from sglr.core.types import Downlink, Uplink

CUTS = ClientCuts(("conv1", "fc"), (0, 1, 0), ((2, 3), (4,)), (frozenset(), frozenset()))
CODECS = CutCodecs((Plain(), Int8()))


def test_a_choice_of_codecs_is_not_a_codec() -> None:
    assert not isinstance(CODECS, Codec)
    assert [CODECS.of_cut(0), CODECS.of_cut(1)] == [Plain(), Int8()]


def test_a_codec_is_a_choice_that_is_the_same_everywhere() -> None:
    assert Int8().of_cut(0) == Int8().of_cut(1) == Int8()


def test_channels_are_of_one_cut_or_of_several() -> None:
    assert isinstance(channels_of(Int8(), None), Channels)
    several = channels_of(CODECS, CUTS)
    assert isinstance(several, CutChannels)
    assert [several.of_cut(cut).codec for cut in (0, 1)] == [Plain(), Int8()]


def test_each_client_s_rows_are_written_by_the_codec_of_its_cut() -> None:
    rng = torch.Generator().manual_seed(0)
    wide, narrow = torch.randn(2, 2, 2, 3, generator=rng), torch.randn(1, 2, 4, generator=rng)
    rows = torch.cat([to_rows(wide, 0, CUTS.width), to_rows(narrow, 1, CUTS.width)])
    clients, sizes = (0, 2, 1), (2, 2, 2)
    links = CutChannels(CODECS, CUTS)
    uplink = Uplink(rows, torch.zeros(3, 2, dtype=torch.long), clients, sizes, cuts=CUTS.rows(clients))
    written = Int8().received(narrow[0])
    assert not torch.equal(written, narrow[0]), "eight bits lose something"
    for got in (links.received(uplink).smashed, links.delivered(Downlink(rows), clients, sizes).gradients):
        assert got is not None
        assert torch.equal(got[:2, :, :6].unflatten(2, (2, 3)), wide)
        assert torch.equal(got[2, :, :4], written)
