"""Both directions of all clients: what arrives, what is written once, and whose memory moves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sglr.compression.channels import Channels
from sglr.compression.codecs import Bfloat16, Float16, Int8, TopK
from sglr.compression.error_feedback import ErrorFeedbackChannel
from sglr.core.codec import Codec, Plain
from sglr.core.split_avg import split_avg
from sglr.core.types import Downlink, Uplink

LOSSY: list[Codec] = [Bfloat16(), Float16(), Int8(), TopK(share=0.3)]
WITH_FEEDBACK: list[Codec] = [Int8(feedback=True), TopK(share=0.3, feedback=True)]
CLIENTS, SIZES = (0, 2, 5), (4, 2, 3)


def make_uplink(seed: int = 0, clients: tuple[int, ...] = CLIENTS, sizes: tuple[int, ...] = SIZES) -> Uplink:
    rng = torch.Generator().manual_seed(seed)
    smashed = torch.randn(len(clients), max(sizes), 3, 6, 6, generator=rng)
    labels = torch.randint(3, smashed.shape[:2], generator=rng)
    uplink = Uplink(smashed, labels, clients, sizes)
    smashed[~uplink.mask] = 0
    return uplink


def make_downlink(uplink: Uplink, active: list[int], rule: str = "position") -> Downlink:
    return split_avg(make_uplink(1, uplink.clients, uplink.sizes).smashed, uplink, active, rule)


def sent_by(link: ErrorFeedbackChannel, values: Tensor) -> Tensor:
    return link.codec.decode(link.send(values), tuple(values.shape))


@pytest.mark.parametrize("codec", [*LOSSY, *WITH_FEEDBACK], ids=repr)
def test_the_server_sees_what_each_client_sends_over_its_own_link(codec: Codec) -> None:
    links, alone = Channels(codec), {client: ErrorFeedbackChannel(codec) for client in CLIENTS}
    for seed in range(3):
        uplink = make_uplink(seed)
        seen = links.received(uplink)
        assert (seen.clients, seen.sizes, seen.labels is uplink.labels) == (CLIENTS, SIZES, True)
        for row, (client, size) in enumerate(zip(CLIENTS, SIZES, strict=True)):
            assert torch.equal(seen.smashed[row, :size], sent_by(alone[client], uplink.smashed[row, :size]))
            assert not seen.smashed[row, size:].any()


@pytest.mark.parametrize("codec", [*LOSSY, *WITH_FEEDBACK], ids=repr)
def test_clients_receive_the_average_over_one_link_and_their_own_over_theirs(codec: Codec) -> None:
    links, average, own = Channels(codec), ErrorFeedbackChannel(codec), ErrorFeedbackChannel(codec)
    uplink = make_uplink()
    for _ in range(3):
        downlink = make_downlink(uplink, [0, 2])
        got = links.delivered(downlink, CLIENTS, SIZES).gradients
        assert downlink.averaged is not None
        shared = sent_by(average, downlink.averaged.gradients)
        for row in (0, 2):
            assert torch.equal(got[row, : SIZES[row]], shared[: SIZES[row]])
        assert torch.equal(got[1, :2], sent_by(own, downlink.gradients[1, :2]))
        assert not got[1, 2:].any()
    named = {"average.lost", "down.2.lost"} if codec.feedback else set()
    assert links.state().keys() == named


def test_parts_for_a_network_are_those_that_arrive_here() -> None:
    """The remote engine's calls, and the local engine's, move the same memories."""
    codec = TopK(share=0.3, feedback=True)
    here, network = Channels(codec), Channels(codec)
    uplink = make_uplink()
    for _ in range(2):
        seen = here.received(uplink).smashed
        downlink = make_downlink(uplink, [0, 1])
        got = here.delivered(downlink, CLIENTS, SIZES).gradients
        assert downlink.averaged is not None
        for row, (client, size) in enumerate(zip(CLIENTS, SIZES, strict=True)):
            shape = (size, 3, 6, 6)
            assert torch.equal(seen[row, :size], codec.decode(network.up(client, uplink.smashed[row, :size]), shape))
        once = codec.decode(network.average(downlink.averaged.gradients), tuple(downlink.averaged.gradients.shape))
        assert torch.equal(got[0, :4], once[:4])
        assert torch.equal(got[2, :3], codec.decode(network.down(5, downlink.gradients[2, :3]), (3, 3, 6, 6)))
    assert here.state().keys() == network.state().keys()
    assert all(torch.equal(tensor, network.state()[name]) for name, tensor in here.state().items())


@pytest.mark.parametrize("codec", WITH_FEEDBACK, ids=repr)
def test_averages_by_class_go_over_each_clients_own_link(codec: Codec) -> None:
    links, alone = Channels(codec), ErrorFeedbackChannel(codec)
    uplink = make_uplink()
    for _ in range(2):
        downlink = make_downlink(uplink, [0, 1, 2], "class")
        got = links.delivered(downlink, CLIENTS, SIZES).gradients
        assert torch.equal(got[0, :4], sent_by(alone, downlink.gradients[0, :4]))
    assert links.state().keys() == {f"down.{client}.lost" for client in CLIENTS}


@given(present=st.sets(st.integers(0, 5), min_size=1))
def test_absent_clients_memories_do_not_move(present: set[int]) -> None:
    links, everyone = Channels(Int8(feedback=True)), tuple(range(6))
    whole = make_uplink(0, everyone, (4, 2, 3, 4, 1, 2))
    links.received(whole)
    links.delivered(Downlink(whole.smashed * 1.1), everyone, whole.sizes)
    before = links.state()
    clients = tuple(sorted(present))
    some = make_uplink(1, clients, tuple(2 for _ in clients))
    links.received(some)
    links.delivered(Downlink(some.smashed * 1.3), clients, some.sizes)
    after = links.state()
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert moved == {f"{way}.{client}.lost" for way in ("up", "down") for client in clients}


def test_links_go_on_from_their_state() -> None:
    codec = TopK(share=0.3, feedback=True)
    links, resumed = Channels(codec), Channels(codec)
    resumed.received(make_uplink(7))  # is forgotten
    for seed in range(2):
        links.received(make_uplink(seed))
    resumed.restore(links.state())
    assert torch.equal(links.received(make_uplink(2)).smashed, resumed.received(make_uplink(2)).smashed)


def test_without_compression_nothing_is_touched() -> None:
    links, uplink = Channels(Plain()), make_uplink()
    downlink = make_downlink(uplink, [0, 1])
    assert links.received(uplink) is uplink
    assert links.delivered(downlink, CLIENTS, SIZES) is downlink
