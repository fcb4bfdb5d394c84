"""Compression by name, and error feedback by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sglr.compression.codecs import Bfloat16, Float16, Int8, TopK
from sglr.compression.error_feedback import ErrorFeedbackChannel, Received, parse
from sglr.core.codec import Plain
from sglr.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("none", Plain()),
        ("bf16", Bfloat16()),
        ("fp16", Float16()),
        ("int8", Int8()),
        ("int8:feedback=true", Int8(feedback=True)),
        ("topk", TopK(share=0.1)),
        ("topk:0.25", TopK(share=0.25)),
        ("topk:share=0.25,feedback=false", TopK(share=0.25)),
        ("topk:0.25, feedback=true", TopK(feedback=True, share=0.25)),
        ("topk:feedback=true", TopK(feedback=True, share=0.1)),
    ],
)
def test_a_codec_is_found_by_its_name(text, codec) -> None:
    assert parse(text) == codec


@pytest.mark.parametrize("text", ["int", "INT8", "", "topk0.1", "gzip"])
def test_a_name_that_is_not_known_lists_those_that_are(text: str) -> None:
    with pytest.raises(UsageError, match="known: bf16, fp16, int2, int4, int8, none, topk"):
        parse(text)


REFUSALS = r"is not key=value|invalid value|given twice|unknown option|has no options"


@pytest.mark.parametrize(
    "text",
    [
        "topk:0",
        "topk:1.5",
        "topk:nan",
        "topk:-0.1",
        "topk:some",
        "topk:0.1,0.2",
        "topk:0.1,share=0.2",
        "topk:0.1,feedback=maybe",
        "topk:feedback=true,0.1",
        "int8:0.1",
        "int8:true",
        "int8:bits=4",
        "fp16:feedback=true",
        "none:0.1",
    ],
)
def test_an_option_that_is_not_known_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=REFUSALS):
        parse(text)


def test_feedback_by_hand() -> None:
    link = ErrorFeedbackChannel(TopK(share=0.5, feedback=True))
    first = link.send(torch.tensor([[4.0, 1.0], [2.0, 6.0]]))
    assert first["values"].tolist() == [[4.0], [6.0]]
    # Lost were 1 of feature 1 and 2 of feature 0, half of it on average over the two samples.
    assert link.lost is not None
    assert link.lost.tolist() == [1.0, 0.5]
    second = link.send(torch.tensor([[1.0, 3.0]]))  # goes as [2.0, 3.5]
    assert second["values"].tolist() == [[3.5]]
    assert link.lost.tolist() == [2.0, 0.0]


@pytest.mark.parametrize("codec", [Int8(feedback=True), TopK(share=0.2, feedback=True)], ids=repr)
@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=8), seed=st.integers(0, 2**31))
def test_with_feedback_means_arrive_unbiased_over_time(codec, sizes, seed) -> None:
    rng = torch.Generator().manual_seed(seed)
    link, meant, arrived = ErrorFeedbackChannel(codec), torch.zeros(3, 2, 4), torch.zeros(3, 2, 4)
    for size in sizes:
        values = torch.randn(size, 3, 2, 4, generator=rng)
        received = codec.decode(link.send(values), tuple(values.shape))
        if size:
            meant, arrived = meant + values.mean(0), arrived + received.mean(0)
    missing = torch.zeros(()) if link.lost is None else link.lost
    torch.testing.assert_close(arrived + missing, meant, atol=1e-5, rtol=1e-5)


def test_what_would_never_be_sent_arrives_with_feedback() -> None:
    values = torch.tensor([[1.0, 0.4]])
    plain, remembering = (ErrorFeedbackChannel(TopK(share=0.5, feedback=feedback)) for feedback in (False, True))
    without, arrived = (
        sum(link.codec.decode(link.send(values), (1, 2)) for _ in range(10)) for link in (plain, remembering)
    )
    assert without.tolist() == [[10.0, 0.0]]
    # All of 10 x 0.4 but what is still to be sent.
    torch.testing.assert_close(arrived + remembering.lost, torch.tensor([[10.0, 4.0]]))
    assert arrived[0, 1] >= 3.0


def test_without_feedback_nothing_is_remembered() -> None:
    link = ErrorFeedbackChannel(TopK(share=0.5))
    link.send(torch.ones(2, 4))
    assert link.state() == {}


def test_a_link_goes_on_from_its_state() -> None:
    codec = Int8(feedback=True)
    values = torch.randn(4, 2, 40, generator=torch.Generator().manual_seed(0))
    link, resumed = ErrorFeedbackChannel(codec), ErrorFeedbackChannel(codec)
    link.send(values)
    resumed.restore(link.state())
    for name, part in link.send(values).items():
        assert torch.equal(part, resumed.send(values)[name]) or name != "values"
    again = ErrorFeedbackChannel(codec)
    again.restore(resumed.state())
    assert again.lost is not None
    assert torch.equal(again.lost, resumed.lost)


def test_the_memory_does_not_depend_on_the_layout_of_numbers() -> None:
    values = torch.randn(8, 5, 7, 7, generator=torch.Generator().manual_seed(0))
    links = [ErrorFeedbackChannel(Int8(feedback=True)) for _ in range(3)]
    for _ in range(2):
        links[0].send(values)
        links[1].send(values.contiguous(memory_format=torch.channels_last))
        links[2].send(values.transpose(0, 2).contiguous().transpose(0, 2))
    assert all(torch.equal(links[0].lost, link.lost) for link in links[1:])


def test_as_a_layer_it_gives_what_the_server_has_and_passes_gradients() -> None:
    smashed = torch.randn(2, 3, 6, 6, requires_grad=True)
    codec = TopK()
    received = Received(codec)(smashed)
    assert torch.equal(received, codec.received(smashed.detach()))
    (received * 3).sum().backward()
    assert smashed.grad is not None
    assert (smashed.grad == 3).all()
