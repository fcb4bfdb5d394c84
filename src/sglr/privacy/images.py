"""The images that an attack tries to recover, and how close its result is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sglr.core.data import Inputs, Samples, StoredInputs
from sglr.core.errors import UsageError
from sglr.core.random import key
from sglr.privacy.attack import AttackResult
from sglr.privacy.measures.estimate import Estimate, mean_estimate
from sglr.privacy.measures.pictures import SMALLEST, psnr, ssim
from sglr.privacy.target import Target, told

LEAST = 8
"""Images that a figure is made of at least: with fewer its interval says nothing."""
SHOWN = 10
"""Pictures in a row."""


def require_images(name: str, samples: Samples, least: int) -> Inputs:
    """Return the inputs of samples, ``[n, channels, height, width]`` in ±1.

    Parameters
    ----------
    name
        Whose samples they are, for errors.
    samples
        The samples.
    least
        How many are needed.

    Raises
    ------
    UsageError
        If they are too few, no images, or not finite.
    """
    inputs = samples.inputs
    if inputs.dim() != 4:
        problem = "this attack recovers images, and these inputs are not images"
        raise UsageError(name, f"inputs of shape {list(inputs.shape[1:])}", problem, "choose another attack")
    if len(inputs) < least:
        raise UsageError(name, f"{len(inputs)} samples", f"this attack needs {least} samples", "give more samples")
    parts = inputs.chunks() if isinstance(inputs, StoredInputs) else [inputs]
    if not all(bool(torch.isfinite(part).all()) for part in parts):
        raise UsageError(name, f"{len(inputs)} samples", "some pixels are not finite numbers", "give images in ±1")
    return inputs


def attacked_rows(target: Target, wanted: int) -> Tensor:
    """Return the client's own samples that an attack tries to recover, ``[n]``: ``wanted`` at random, or all it has.

    They depend on the attack's seed alone, so that every attack tries to recover the same ones.

    Raises
    ------
    UsageError
        If there are fewer than `LEAST`, or they are no images, or beside images there are other inputs.
    """
    if wanted < LEAST:
        raise UsageError("samples", wanted, f"this attack needs {LEAST} samples", f"give {LEAST} or more")
    if target.layout is not None:
        problem = "this attack recovers images that are all that a sample has, and here each has several inputs"
        raise UsageError(
            "own", told(target.layout), problem, "attack by decoder, which recovers the one picture of them"
        )
    count = len(require_images("own", target.own, LEAST))
    generator = torch.Generator().manual_seed(key(target.seed, "attacked samples"))
    return torch.randperm(count, generator=generator)[:wanted]


def mean_image(target: Target) -> Tensor:
    """Return the mean of the client's own images, ``[1, channels, height, width]`` in ±1.

    No single image is nearer to all of them; an attacker that sees nothing and has only other images guesses worse.
    """
    inputs = target.own.inputs
    if isinstance(inputs, Tensor):
        return inputs.mean(0, keepdim=True)
    total = torch.stack([part.double().sum(0) for part in inputs.chunks()]).sum(0, keepdim=True)
    return (total / len(inputs)).to(inputs.dtype)


def unit_range(images: Tensor) -> Tensor:
    """Return images in ±1 as images in [0, 1]."""
    return ((images + 1) / 2).clamp(0, 1)


def total_variation(images: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels, the prior that images are smooth."""
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    across = (images[..., 1:] - images[..., :-1]).abs().mean()
    return down + across


def recovered(
    originals: Tensor,
    images: Tensor,
    guess: Tensor,
    how: str,
    *,
    note: str,
    details: Mapping[str, Estimate] | None = None,
) -> AttackResult:
    """Compare recovered images with the originals, by the mean squared error per pixel of images in [0, 1].

    Parameters
    ----------
    originals, images
        ``[n, channels, height, width]`` in ±1, the attacked ones and the recovered ones.
    guess
        ``[1, channels, height, width]`` in ±1, the guess of an attacker that sees nothing.
    how
        The attack's name, for the estimator.
    note
        What a reader must know.
    details
        Further figures; PSNR and, of images large enough, SSIM are added.
    """
    wanted, found = unit_range(originals), unit_range(images)
    score = squared_error(found, wanted, f"mean squared error of {how}")
    baseline = squared_error(unit_range(guess).expand_as(wanted), wanted, "mean squared error of the mean image")
    return AttackResult(
        score=score,
        baseline=baseline,
        measure="mean squared error",
        more_leaks=False,
        details={**(details or {}), **likeness(found, wanted)},
        pictures={"originals": wanted[:SHOWN], "reconstructions": found[:SHOWN]},
        note=note,
    )


def squared_error(images: Tensor, originals: Tensor, how: str) -> Estimate:
    """Return the mean squared error per pixel of images in [0, 1], with its interval over images."""
    return mean_estimate((images - originals).square().flatten(1).mean(1), how, "squared intensity")


def likeness(images: Tensor, originals: Tensor) -> dict[str, Estimate]:
    """Return PSNR of images in [0, 1], and SSIM if they are as large as its window."""
    found = {"psnr": psnr(images, originals)}
    if min(images.shape[-2:]) >= SMALLEST:
        found["ssim"] = ssim(images, originals)
    return found
