"""Targets that clients send are those that the task can learn, for every task; others are their sender's affair."""

from __future__ import annotations

import math

import pytest
import torch
from tests.some_targets import draw, inputs_for, make_task, targets_of

from sglr.compression.codecs import TopK
from sglr.compression.each_way import EachWay
from sglr.compression.weight_deltas import DeltaCode
from sglr.core.codec import Codec, Plain
from sglr.core.errors import ExtremeValues
from sglr.core.events import NO_HITS
from sglr.core.registry import TASKS
from sglr.core.task import Targets
from sglr.engines.remote.limits import ENVELOPE_BYTES, chunk, most_bytes
from sglr.engines.remote.server.targets import SentTargets
from sglr.engines.remote.wire.frames import Malformed
from sglr.tasks.language import Language
from sglr.tasks.regression import Regression
from sglr.tasks.segmentation import Segmentation

every_task = pytest.mark.parametrize("name", TASKS.names())


@every_task
def test_targets_of_the_task_pass_and_numbers_beyond_the_classes_do_not(name: str) -> None:
    targets = targets_of(task := make_task(name))
    sent, honest = SentTargets(targets, task), draw(inputs_for(targets, 5, 0), targets)
    assert sent.room(5).shape == honest.shape
    assert sent.room(5).dtype == honest.dtype
    sent.check(honest)
    sent.check(honest[:0])
    wrong = honest.clone()
    wrong.view(-1)[-1] = targets.classes or math.nan
    with pytest.raises(Malformed):
        sent.check(wrong)


def test_what_the_task_ignores_may_be_sent() -> None:
    masks = Targets(("back", "front"), (2, 2), "uint8", 2)
    mask = torch.tensor([[[0, 255], [1, 1]]], dtype=torch.uint8)
    SentTargets(masks, Segmentation(ignore_index=255)).check(mask)
    with pytest.raises(Malformed):
        SentTargets(masks, Segmentation()).check(mask)
    texts = Targets((), (2,), "int64", 9)
    SentTargets(texts, Language()).check(torch.tensor([[3, -100]]))
    with pytest.raises(Malformed):
        SentTargets(texts, Language()).check(torch.tensor([[3, -1]]))


def test_a_measurement_is_large_in_the_units_of_the_task() -> None:
    one, large = Targets(dtype="float32"), torch.tensor([3e5, -2e5])
    SentTargets(one, Regression(target_mean=(0.0,), target_scale=(1e5,))).check(large)
    with pytest.raises(ExtremeValues, match="target_scale"):
        SentTargets(one, Regression()).check(large)
    with pytest.raises(Malformed, match="not finite"):
        SentTargets(one, Regression()).check(torch.tensor([0.0, math.inf]))


@every_task
def test_hits_are_told_exactly_where_something_is_right_or_wrong(name: str) -> None:
    targets = targets_of(task := make_task(name))
    sent = SentTargets(targets, task)
    told = task.hits(torch.zeros(3, *task.output_shape(targets)), sent.room(3))
    possible, not_possible = ([0.0, 2.5, 3.0], [NO_HITS, 3.1]) if told is not None else ([NO_HITS, -7.0], [0.0, 1.0])
    for hits in possible:
        sent.check_hits(hits, 3)
    for hits in (*not_possible, math.nan, math.inf, -math.inf):
        with pytest.raises(Malformed):
            sent.check_hits(hits, 3)


def test_messages_have_room_for_targets() -> None:
    masks = Targets((), (512, 512), "uint8", 3)
    assert chunk((4,), masks) == 3
    assert most_bytes(8, [(Plain(), (4,))], None, masks, {}) > 8 * 512 * 512
    assert chunk((4,), Targets(classes=2)) == 512


@pytest.mark.parametrize(
    "codec",
    [TopK(share=0.9), EachWay.of(TopK(share=0.9), Plain()), EachWay.of(Plain(), TopK(share=0.9))],
    ids=["both ways", "up", "down"],
)
def test_messages_have_room_for_a_code_that_takes_more_than_four_bytes_a_value(codec: Codec) -> None:
    targets = Targets(("no", "yes"), dtype="int64")
    # 900 of 1000 values with their places, 8 bytes each, and a label of 8; a segment of 1000 weights, alike.
    assert most_bytes(1000, [(codec, (1000,))], None, targets, {}) == ENVELOPE_BYTES + 1000 * (7200 + 8)
    cuts = [(Plain(), (1000,)), (codec, (500,))]
    assert most_bytes(1000, cuts, None, targets, {}) == ENVELOPE_BYTES + 1000 * (4000 + 8)
    assert most_bytes(1000, [(Plain(), (10,))], (3000,), targets, {}) == ENVELOPE_BYTES + 1000 * (12000 + 8)


def test_messages_have_room_for_weights_in_a_code_that_takes_more_than_four_bytes_each() -> None:
    targets, segment = Targets(("no", "yes")), {"weight": torch.zeros(100, 1000), "mean": torch.zeros(7)}
    code = DeltaCode(TopK(share=0.9), ("weight",))
    assert most_bytes(1, [(Plain(), (4,))], None, targets, segment) == ENVELOPE_BYTES + 400_000 + 28 + 8
    assert most_bytes(1, [(Plain(), (4,))], None, targets, segment, code) == ENVELOPE_BYTES + 720_000 + 28
    assert code.bytes(segment) == 720_028
