"""Reconstruction from smashed data: worse where less is sent, and never from what tells nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.privacy.reconstruction import Decoder, reconstruct


class Silent(nn.Module):
    """Sends the same of every image."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.ones(len(images), 4, 4, 4)


def squares(count: int, seed: int) -> Tensor:
    """Black images of 8 x 8 with a white square somewhere, in ±1."""
    generator = torch.Generator().manual_seed(seed)
    images = -torch.ones(count, 1, 8, 8)
    for image, (row, column) in zip(images, torch.randint(0, 5, (count, 2), generator=generator), strict=True):
        image[:, row : row + 4, column : column + 4] = 1
    return images


def attack(segment: nn.Module, epochs: int = 20):
    return reconstruct(segment, squares(256, 0), squares(64, 1), epochs=epochs, seed=0)


def test_images_sent_as_they_are_are_reconstructed_and_a_constant_tells_nothing() -> None:
    plain, silent = attack(nn.Identity()), attack(Silent())
    assert plain.cross_entropy < 0.2 * plain.baseline_cross_entropy
    assert plain.mse < 0.02
    assert silent.cross_entropy == pytest.approx(silent.baseline_cross_entropy, rel=0.1)
    assert plain.images.shape == (64, 1, 8, 8)


def test_the_baseline_is_the_cross_entropy_of_the_mean_image_by_hand() -> None:
    known, wanted = (squares(256, 0) + 1) / 2, (squares(64, 1) + 1) / 2
    guess = known.double().mean(0).clamp(1e-4, 1 - 1e-4)
    by_hand = -(wanted * guess.log() + (1 - wanted) * (1 - guess).log()).mean()
    assert attack(Silent(), epochs=1).baseline_cross_entropy == pytest.approx(float(by_hand), rel=1e-5)


def test_the_same_seed_gives_the_same_figures_and_the_segment_is_untouched() -> None:
    segment = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in segment.state_dict().items()}
    first, second = attack(segment, 1), attack(segment, 1)
    assert first.cross_entropy == second.cross_entropy
    assert all(torch.equal(value, before[name]) for name, value in segment.state_dict().items())


@pytest.mark.parametrize("cut_shape", [(16,), (8, 4, 4), (5, 7)], ids=str)
@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 15, 9)], ids=str)
def test_a_decoder_makes_images_of_any_cut(cut_shape: tuple[int, ...], image_shape: tuple[int, ...]) -> None:
    assert Decoder(cut_shape, image_shape)(torch.zeros(2, *cut_shape)).shape == (2, *image_shape)


@pytest.mark.parametrize("auxiliary", [torch.zeros(5, 4), torch.zeros(1, 1, 8, 8)], ids=["no images", "one image"])
def test_what_cannot_be_reconstructed_is_refused(auxiliary: Tensor) -> None:
    with pytest.raises(UsageError, match="two auxiliary"):
        reconstruct(nn.Identity(), auxiliary, auxiliary, epochs=1, seed=0)
