"""PSNR and SSIM of reconstructions."""

from __future__ import annotations

import pytest
import torch

from sglr.core.errors import UsageError
from sglr.privacy.measures.pictures import psnr, ssim


def pictures(count: int, size: int = 12) -> torch.Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(0))


def test_psnr_by_hand_is_a_mean_over_images() -> None:
    """Errors of 0.1 and 0.01 everywhere are 20 and 40 dB."""
    originals = torch.full((2, 1, 8, 8), 0.5)
    images = originals + torch.tensor([0.1, 0.01])[:, None, None, None]
    found = psnr(images, originals)
    assert found.value == pytest.approx(30, rel=1e-4)
    assert (found.unit, found.samples) == ("dB", 2)


def test_equal_images_have_the_most() -> None:
    assert psnr(pictures(3), pictures(3)).value == 100
    assert ssim(pictures(3), pictures(3)).value == pytest.approx(1)


def test_ssim_falls_with_noise_and_is_near_zero_for_strangers() -> None:
    originals = pictures(16)
    noise = torch.randn(originals.shape, generator=torch.Generator().manual_seed(1))
    values = [ssim((originals + level * noise).clamp(0, 1), originals).value for level in (0.0, 0.1, 0.3, 1.0)]
    assert values == sorted(values, reverse=True)
    stranger = ssim(originals.flip(0), originals)
    assert stranger.low < 0.1
    assert abs(stranger.value) < 0.2


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_images_of_another_size_are_refused(measure) -> None:
    with pytest.raises(UsageError, match="originals are"):
        measure(pictures(2), pictures(3))


def test_images_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(UsageError, match="6 x 6"):
        ssim(pictures(2, 5), pictures(2, 5))
