"""Augmentations change a sample alike whatever is in the batch with it, its mask along with it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import assert_close

from sglr.core.errors import UsageError
from sglr.core.registry import AUGMENTATIONS, METHODS
from sglr.core.task import Targets
from sglr.data.augmentation import Augmentation, AugmentationChain, parse
from sglr.data.tokens import NOT_ASKED, masked_tokens
from sglr.engines.local import Local
from sglr.parties.spec import ClientSpec

PICTURES = [name for name in AUGMENTATIONS.names() if name != "masked-tokens"]
EVERY = "+".join(PICTURES)
TEXT = Targets(shape=(12,), classes=30)


def pictures(number: int = 6, channels: int = 3) -> torch.Tensor:
    return torch.rand(number, channels, 9, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


@given(order=st.permutations(range(6)), kept=st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_a_sample_is_changed_alike_in_any_batch(order: list[int], kept: int) -> None:
    chain, inputs, targets = parse(EVERY, seed=3), pictures(), torch.arange(6)
    clients, places = [0, 0, 0, 1, 1, 2], np.array([0, 1, 2, 0, 1, 0])
    state = torch.get_rng_state()
    whole, _ = chain.change(inputs, targets, clients, 2, places)
    rows = order[:kept]
    some, labels = chain.change(inputs[rows], targets[rows], [clients[row] for row in rows], 2, places[rows])
    assert torch.equal(some, whole[rows])
    assert labels.tolist() == rows
    assert torch.equal(torch.get_rng_state(), state)  # what layers draw does not change
    assert not torch.equal(whole, chain.change(inputs, targets, clients, 3, places)[0])
    assert whole.shape == inputs.shape
    assert float(whole.abs().max()) <= 1 + 1e-6


def many(spec: str, inputs: torch.Tensor, targets: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    number = len(inputs)
    return parse(spec, seed).change(inputs, targets, [0] * number, 0, np.arange(number))


@pytest.mark.parametrize("spec", ["horizontal-flip", "vertical-flip", "random-crop:padding=3", "rotation:90"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_a_mask_moves_with_its_picture(spec: str, dtype: torch.dtype) -> None:
    masks = torch.randint(0, 5, (20, 12, 12), generator=torch.Generator().manual_seed(1)).to(dtype)
    # Where a picture is one number in blocks, its mask is the same, up to what lies between blocks.
    blocks = torch.kron(masks[:, ::4, ::4], torch.ones(4, 4, dtype=dtype))
    inputs, targets = many(f"{spec},fill=0" if "flip" not in spec else spec, blocks[:, None].float(), blocks)
    assert targets.dtype == dtype
    assert not torch.equal(targets, blocks)
    if "rotation" in spec:
        assert float((inputs[:, 0].round() == targets).float().mean()) > 0.8
    else:
        assert torch.equal(inputs[:, 0], targets.float())


def test_each_does_what_it_says() -> None:
    inputs, labels = pictures(400, 1), torch.zeros(400, dtype=torch.int64)
    flipped, _ = many("horizontal-flip:0.25", inputs, labels)
    turned = (flipped == inputs.flip(-1)).flatten(1).all(1)
    assert ((flipped == inputs).flatten(1).all(1) ^ turned).all()
    assert 0.15 < float(turned.float().mean()) < 0.35
    cropped, _ = many("random-crop:padding=2,padding_mode=reflect", inputs, labels)
    wide = torch.nn.functional.pad(inputs, (2, 2, 2, 2), mode="reflect")
    shifts = [(top, left) for top in range(5) for left in range(5)]
    found = torch.stack(
        [(cropped == wide[..., top : top + 9, left : left + 8]).flatten(1).all(1) for top, left in shifts]
    )
    assert found.any(0).all()
    assert (found.float().mean(1) > 0.01).all()
    erased, _ = many("random-erasing:p=1,value=7", inputs, labels)
    shares = (erased == 7).float().flatten(1).mean(1)
    assert torch.equal(erased[erased != 7], inputs[erased != 7])
    assert 0 < float(shares.min()) < 0.1 < float(shares.max()) < 0.45
    rotated, _ = many("rotation:0.001", inputs, labels)
    torch.testing.assert_close(rotated, inputs, atol=1e-2, rtol=0)
    brighter, _ = many("color-jitter:brightness=0.5,contrast=0,saturation=0", inputs, labels)
    factor = ((brighter + 1) / (inputs + 1)).flatten(1).median(1).values
    assert 0.5 <= float(factor.min()) < 0.6 < 1.4 < float(factor.max()) <= 1.5


def test_masked_tokens_hide_others_in_every_epoch() -> None:
    tokens = torch.arange(12).expand(5, 12) + 3
    read = masked_tokens(tokens, 1, 30, np.random.default_rng(0), share=0.25)
    chain = parse("masked-tokens:mask=1,share=0.25").fitted(read.inputs[0], TEXT)
    first, second = (chain.change(read.inputs, read.targets, [0] * 5, epoch, np.arange(5)) for epoch in (0, 1))
    for inputs, targets in (first, second):
        asked = targets != NOT_ASKED
        assert torch.equal(torch.where(asked, targets, inputs), tokens)
        assert asked.sum(1).tolist() == [3] * 5
    assert not torch.equal(first[1], second[1])
    with pytest.raises(UsageError, match="no hidden tokens"):
        chain.change(tokens, tokens.roll(-1, 1), [0] * 5, 0, np.arange(5))


LABELS = Targets.of_classes(("a", "b"))


@pytest.mark.parametrize(
    ("spec", "sample", "targets", "problem"),
    [
        ("horizontal-flap", torch.zeros(1, 8, 8), LABELS, "did you mean 'horizontal-flip'"),
        ("horizontal-flip:q=1", torch.zeros(1, 8, 8), LABELS, "unknown option 'q'"),
        ("horizontal-flip:2", torch.zeros(1, 8, 8), LABELS, "out of range"),
        ("random-crop:padding=nan", torch.zeros(1, 8, 8), LABELS, "padding"),
        ("random-crop:fill=inf", torch.zeros(1, 8, 8), LABELS, "not finite"),
        ("random-crop:padding=9,padding_mode=reflect", torch.zeros(1, 8, 8), LABELS, "can't change pictures"),
        ("rotation", torch.zeros(8), LABELS, "the inputs are float32 \\[8\\]"),
        ("color-jitter", torch.full((1, 8, 8), 3.0), LABELS, "inputs reach 3"),
        ("masked-tokens:mask=1", torch.zeros(1, 8, 8), LABELS, "changes texts"),
        ("masked-tokens", torch.zeros(12, dtype=torch.int64), TEXT, "mask=103"),
        ("masked-tokens:mask=30", torch.zeros(12, dtype=torch.int64), TEXT, "0 to 29"),
    ],
)
def test_bad_input(spec: str, sample: torch.Tensor, targets: Targets, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as raised:
        parse(spec).fitted(sample, targets)
    assert "\n" not in str(raised.value)


@dataclass(frozen=True)
class Noise(Augmentation):
    """Inputs of any shape, disturbed by a draw for each value."""

    def change(
        self, inputs: torch.Tensor, target: torch.Tensor, rng: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return inputs + torch.randn(inputs.shape, generator=rng), target


@pytest.mark.parametrize("name", ["sglr", "fl", "cl"])
@pytest.mark.usefixtures("double")
def test_stacked_equals_looped(case: Any, state_of: Callable[..., dict[str, torch.Tensor]], name: str) -> None:
    def train(stacking: str, *parts: Augmentation) -> dict[str, torch.Tensor]:
        def engine(spec: ClientSpec) -> Local:
            return Local(replace(spec, augmentation=AugmentationChain(parts, 5)))

        options = {"sizes": (8, 7, 4), "stacking": stacking, "optimizer": "sgd:momentum=0.9"}
        return state_of(case(METHODS.load(name)(), engine=engine, **options).run())

    stacked, looped, plain = train("stacked", Noise()), train("looped", Noise()), train("stacked")
    assert_close(stacked, looped, atol=1e-10, rtol=1e-10)
    assert any(not torch.equal(stacked[key], plain[key]) for key in plain)
