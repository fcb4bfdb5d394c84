"""Reconstruction from smashed data: worse where less is sent, and never from what tells nothing."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.privacy.measures.reconstruction import DecoderNetwork, reconstruct


class Silent(nn.Module):
    """Sends the same of every image."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.ones(len(images), 4, 4, 4)


PLAIN, SILENT = nn.Identity(), Silent()


def squares(count: int, seed: int) -> Tensor:
    """Black images of 8 x 8 with a white square somewhere, in ±1."""
    generator = torch.Generator().manual_seed(seed)
    images = -torch.ones(count, 1, 8, 8)
    for image, (row, column) in zip(images, torch.randint(0, 5, (count, 2), generator=generator), strict=True):
        image[:, row : row + 4, column : column + 4] = 1
    return images


@cache
def attack(segment: nn.Module, epochs: int = 20):
    return reconstruct(segment, squares(256, 0), squares(64, 1), epochs=epochs, seed=0)


def test_images_sent_as_they_are_are_reconstructed_and_a_constant_tells_nothing() -> None:
    plain, silent = attack(PLAIN), attack(SILENT)
    assert plain.cross_entropy.value < 0.2 * plain.baseline_cross_entropy.value
    assert plain.mse.value < 0.02
    assert silent.cross_entropy.value == pytest.approx(silent.baseline_cross_entropy.value, rel=0.1)
    assert plain.images.shape == plain.originals.shape == (64, 1, 8, 8)


def test_the_baseline_is_the_cross_entropy_of_the_mean_image_by_hand() -> None:
    known, wanted = (squares(256, 0) + 1) / 2, (squares(64, 1) + 1) / 2
    guess = known.double().mean(0).clamp(1e-4, 1 - 1e-4)
    by_hand = -(wanted * guess.log() + (1 - wanted) * (1 - guess).log()).mean()
    assert attack(SILENT, epochs=1).baseline_cross_entropy.value == pytest.approx(float(by_hand), rel=1e-5)


def test_intervals_are_over_images() -> None:
    found = attack(PLAIN, epochs=2)
    errors = (found.images - found.originals).square().flatten(1).mean(1)
    assert found.mse.samples == 64
    assert found.mse.value == pytest.approx(float(errors.mean()), rel=1e-5)
    assert found.mse.high == pytest.approx(float(errors.mean() + 1.9983 * errors.std() / 8), rel=1e-4)


def test_what_leaks_looks_more_alike_than_what_does_not() -> None:
    plain, silent = attack(PLAIN), attack(SILENT)
    assert plain.ssim().low > silent.ssim().high
    assert plain.psnr().low > silent.psnr().high


def test_the_same_seed_gives_the_same_figures_and_the_segment_is_untouched() -> None:
    segment = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in segment.state_dict().items()}
    first, second = (attack.__wrapped__(segment, 1) for _ in range(2))
    assert first.cross_entropy == second.cross_entropy
    assert all(torch.equal(value, before[name]) for name, value in segment.state_dict().items())


@pytest.mark.parametrize("cut_shape", [(16,), (8, 4, 4), (5, 7)], ids=str)
@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 15, 9)], ids=str)
def test_a_decoder_makes_images_of_any_cut(cut_shape: tuple[int, ...], image_shape: tuple[int, ...]) -> None:
    assert DecoderNetwork(cut_shape, image_shape)(torch.zeros(2, *cut_shape)).shape == (2, *image_shape)


@pytest.mark.parametrize("auxiliary", [torch.zeros(5, 4), torch.zeros(1, 1, 8, 8)], ids=["no images", "one image"])
def test_what_cannot_be_reconstructed_is_refused(auxiliary: Tensor) -> None:
    with pytest.raises(UsageError, match="two auxiliary"):
        reconstruct(nn.Identity(), auxiliary, auxiliary, epochs=1, seed=0)


def test_images_that_are_no_numbers_are_refused() -> None:
    broken = squares(4, 0)
    broken[0, 0, 0, 0] = torch.nan
    with pytest.raises(UsageError, match=r"targets.*not finite"):
        reconstruct(nn.Identity(), squares(4, 0), broken, epochs=1, seed=0)


def test_the_global_generator_stays_where_it_was() -> None:
    before = torch.get_rng_state()
    attack.__wrapped__(PLAIN, 1)
    assert torch.equal(before, torch.get_rng_state())
