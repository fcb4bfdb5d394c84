"""How similar reconstructions and originals are: PSNR and SSIM, by torchmetrics."""

from __future__ import annotations

from torch import Tensor

from sglr.core.errors import UsageError
from sglr.metrics.import_torchmetrics import import_torchmetrics
from sglr.privacy.measures.estimate import Estimate, mean_estimate

IDENTICAL = 100.0
"""Decibels of images that are equal, whose ratio is infinite."""
SMALLEST = 6
"""Pixels: the window of SSIM is mirrored by five at each edge."""


def psnr(images: Tensor, originals: Tensor) -> Estimate:
    """Return the mean peak signal-to-noise ratio, −10 log10 of an image's mean squared error, in dB.

    Parameters
    ----------
    images, originals
        ``[n, channels, height, width]`` in [0, 1]. The interval is over images.

    Raises
    ------
    UsageError
        If these are not as many images of the same size.
    """
    import_torchmetrics()
    from torchmetrics.functional.image import peak_signal_noise_ratio

    _require_alike(images, originals)
    values = peak_signal_noise_ratio(images, originals, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return mean_estimate(values.clamp(max=IDENTICAL), "mean PSNR per image", "dB")


def ssim(images: Tensor, originals: Tensor) -> Estimate:
    """Return the mean structural similarity (Wang et al., 2004), at most 1, with a Gaussian window of σ = 1.5 pixels.

    Parameters and errors are those of :func:`psnr`; images have 6 × 6 pixels at least.
    """
    import_torchmetrics()
    from torchmetrics.functional.image import structural_similarity_index_measure

    _require_alike(images, originals)
    if min(images.shape[-2:]) < SMALLEST:
        problem = "the images are smaller than the window of SSIM"
        raise UsageError("images", tuple(images.shape), problem, f"give images of {SMALLEST} x {SMALLEST} at least")
    values = structural_similarity_index_measure(images, originals, data_range=1.0, reduction="none")
    assert isinstance(values, Tensor)
    return mean_estimate(values.reshape(-1), "mean SSIM per image", "1")


def _require_alike(images: Tensor, originals: Tensor) -> None:
    if images.dim() != 4 or not len(images) or images.shape != originals.shape:
        problem = f"the originals are {tuple(originals.shape)}"
        raise UsageError("images", tuple(images.shape), problem, "give [n, channels, height, width] of both")
