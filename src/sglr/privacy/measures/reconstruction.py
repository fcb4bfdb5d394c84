"""Reconstruct images from smashed data with a decoder, as an honest-but-curious server could.

The decoder is trained on images that the attacker has of its own (auxiliary data), each with the smashed data that the
attacked client's segment makes of it. How far its reconstructions of other images are from these is the leakage
(paper, Table 5: the cross-entropy between image and reconstruction; higher leaks less).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sglr.core.errors import UsageError
from sglr.core.random import key
from sglr.privacy.measures.estimate import Estimate, mean_estimate
from sglr.privacy.measures.pictures import psnr, ssim

BATCH = 64
CHUNK = 512  # images smashed or reconstructed at a time
RATE = 1e-3
WIDTH = 32


@dataclass(frozen=True)
class Reconstruction:
    """How well images were reconstructed. Intervals are over images, for this one decoder.

    Parameters
    ----------
    cross_entropy
        Binary cross-entropy per pixel in nats between images and reconstructions, both in [0, 1]; higher leaks less.
    mse
        Mean squared error per pixel, in [0, 1].
    baseline_cross_entropy, baseline_mse
        The same of the best guess without any smashed data, the mean auxiliary image.
    images, originals
        Reconstructions, and what they are of, ``[n, channels, height, width]`` in [0, 1].
    """

    cross_entropy: Estimate
    mse: Estimate
    baseline_cross_entropy: Estimate
    baseline_mse: Estimate
    images: Tensor
    originals: Tensor

    def psnr(self) -> Estimate:
        """Return the mean peak signal-to-noise ratio in dB; lower leaks less. It needs the extra ``privacy``."""
        return psnr(self.images, self.originals)

    def ssim(self) -> Estimate:
        """Return the mean structural similarity, at most 1; lower leaks less. It needs the extra ``privacy``."""
        return ssim(self.images, self.originals)


class DecoderNetwork(nn.Module):
    """The upper half of an auto-encoder: smashed data ``[n, ...]`` to images in logits.

    Feature maps are enlarged to the image's size between convolutions; other smashed data first go through a linear
    layer.

    Parameters
    ----------
    cut_shape
        Shape of one sample's smashed data.
    image_shape
        (channels, height, width).
    """

    def __init__(self, cut_shape: tuple[int, ...], image_shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, self.height, self.width = image_shape
        maps = cut_shape if len(cut_shape) == 3 else (WIDTH, -(-self.height // 4), -(-self.width // 4))
        self.unfold = nn.Identity() if len(cut_shape) == 3 else _unfolded(cut_shape, maps)
        self.first = nn.Conv2d(maps[0], 2 * WIDTH, 3, padding=1)
        self.second = nn.Conv2d(2 * WIDTH, WIDTH, 3, padding=1)
        self.last = nn.Conv2d(WIDTH, channels, 3, padding=1)

    def forward(self, smashed: Tensor) -> Tensor:
        """Return images ``[n, channels, height, width]`` as logits."""
        maps = F.relu(self.first(self.unfold(smashed)))
        half = (-(-self.height // 2), -(-self.width // 2))
        maps = F.relu(self.second(F.interpolate(maps, half, mode="nearest")))
        logits: Tensor = self.last(F.interpolate(maps, (self.height, self.width), mode="nearest"))
        return logits


def _unfolded(cut_shape: tuple[int, ...], maps: tuple[int, ...]) -> nn.Module:
    values = int(torch.Size(cut_shape).numel())
    return nn.Sequential(nn.Flatten(), nn.Linear(values, int(torch.Size(maps).numel())), nn.Unflatten(1, maps))


Send = Callable[[Tensor], Tensor]
"""What a client sends of inputs ``[n, ...]``."""


def as_they_are(inputs: Tensor) -> Tensor:
    """Return inputs that are images."""
    return inputs


def reconstruct(
    send: Send,
    auxiliary: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    seed: int,
    images_of: Callable[[Tensor], Tensor] = as_they_are,
) -> Reconstruction:
    """Train a decoder against a client's segment and reconstruct images that it has not seen.

    Parameters
    ----------
    send
        What the client sends of images, with all of its defences; or its segment alone, trained, which is run in
        evaluation mode and not changed.
    auxiliary
        The attacker's own images ``[m, channels, height, width]`` in ±1, as the client's are.
    targets
        Images to reconstruct from their smashed data, ``[n, channels, height, width]`` in ±1.
    epochs
        Passes of the decoder's training over the auxiliary images.
    seed
        Seed of the decoder's weights and of the order of images.
    images_of
        Gives the images of inputs, where these hold other inputs beside them.

    Raises
    ------
    UsageError
        If inputs are not images, there are fewer than two, or some are not finite.
    """
    own, attacked_images = images_of(auxiliary), images_of(targets)
    if own.dim() != 4 or len(own) < 2 or not len(targets):
        problem = f"cannot be reconstructed ({len(own)} auxiliary inputs of shape {tuple(own.shape[1:])})"
        raise UsageError("inputs", tuple(targets.shape), problem, "give images, two auxiliary ones at least")
    for name, images in (("auxiliary", own), ("targets", attacked_images)):
        if not bool(torch.isfinite(images).all()):
            raise UsageError(name, tuple(images.shape), "some pixels are not finite numbers", "give images in ±1")
    known, wanted = _in_unit_range(own), _in_unit_range(attacked_images)
    seen, attacked = _smash(send, auxiliary), _smash(send, targets)
    scale = seen.square().mean().sqrt().clamp(min=1e-6)  # so that decoders of different cuts learn at the same rate
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(key(seed, "decoder"))
        decoder = DecoderNetwork(tuple(seen.shape[1:]), tuple(own.shape[1:]))
        _train(decoder, seen / scale, known, epochs)
    with torch.no_grad():
        logits = torch.cat([decoder.eval()(part) for part in torch.split(attacked / scale, CHUNK)])
    guess = known.mean(0, keepdim=True).clamp(1e-4, 1 - 1e-4).expand_as(wanted)
    losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    images = logits.sigmoid()
    return Reconstruction(
        cross_entropy=_over_images(losses, "decoder's cross-entropy", "nats per pixel"),
        mse=_over_images((images - wanted).square(), "decoder's mean squared error", "squared intensity"),
        baseline_cross_entropy=_over_images(
            F.binary_cross_entropy(guess, wanted, reduction="none"), "cross-entropy of the mean image", "nats per pixel"
        ),
        baseline_mse=_over_images(
            (guess - wanted).square(), "mean squared error of the mean image", "squared intensity"
        ),
        images=images,
        originals=wanted,
    )


def _over_images(values: Tensor, estimator: str, unit: str) -> Estimate:
    return mean_estimate(values.flatten(1).mean(1), estimator, unit)


def _in_unit_range(images: Tensor) -> Tensor:
    return ((images + 1) / 2).clamp(0, 1)


def _smash(send: Send, images: Tensor) -> Tensor:
    if isinstance(send, nn.Module):
        send.eval()
    with torch.no_grad():
        return torch.cat([send(part) for part in torch.split(images, CHUNK)])


def _train(decoder: DecoderNetwork, smashed: Tensor, images: Tensor, epochs: int) -> None:
    optimizer = torch.optim.Adam(decoder.parameters(), RATE)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images)), BATCH):
            loss = F.binary_cross_entropy_with_logits(decoder(smashed[rows]), images[rows])
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
