"""Decoder inversion: train a decoder on images of one's own and what the client would send of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from sglr.core.data import Samples
from sglr.core.errors import UsageError
from sglr.core.random import key
from sglr.privacy.attack import Attack, AttackResult, require_positive
from sglr.privacy.images import attacked_rows, mean_image, recovered, require_images
from sglr.privacy.measures.reconstruction import BATCH, reconstruct
from sglr.privacy.target import Target
from sglr.privacy.threat import Sees

__all__ = ["Decoder"]

LEAST = 64
"""Images that the attacker has, at least: with fewer, a decoder only memorises them."""


@dataclass(frozen=True)
class Decoder(Attack):
    """Train a decoder d to minimise the cross-entropy of d(f(x)) and x over auxiliary images (paper, Table 5).

    Raises
    ------
    UsageError
        If a field is not above 0, or ``auxiliary`` is below 64.
    """

    attacker: ClassVar[str] = "server"
    needs: ClassVar[frozenset[Sees]] = frozenset({Sees.SMASHED, Sees.QUERIES, Sees.AUXILIARY})
    source: ClassVar[str] = "He, Zhang and Lee, ACSAC 2019 (black box); the paper's Table 5"

    samples: int = field(default=256, metadata={"help": "images to recover"})
    auxiliary: int = field(default=2000, metadata={"help": "images that the attacker has, at most; 64 or more"})
    steps: int = field(default=300, metadata={"help": "steps of the decoder's training, at least"})

    def __post_init__(self) -> None:
        require_positive(self, "samples", "auxiliary", "steps")
        if self.auxiliary < LEAST:
            problem = "with so few images a decoder only memorises them"
            raise UsageError("auxiliary", self.auxiliary, problem, f"give {LEAST} or more")

    def carry_out(self, target: Target) -> AttackResult:
        """Recover images of the client's own from what it sends of them.

        Raises
        ------
        UsageError
            If it has fewer than 8 images, the attacker fewer than 64, or these are none.
        """
        shown = _of_pictures(target)
        rows = attacked_rows(shown, self.samples)
        count = len(require_images("auxiliary", shown.auxiliary, LEAST))
        generator = torch.Generator().manual_seed(key(target.seed, "auxiliary samples"))
        known = target.auxiliary.inputs[torch.randperm(count, generator=generator)[: self.auxiliary]]
        epochs = -(-self.steps // -(-len(known) // BATCH))
        found = reconstruct(
            target.observed,
            known,
            target.own.inputs[rows],
            epochs=epochs,
            seed=target.seed,
            images_of=target.pictures,
        )
        details = {"cross_entropy": found.cross_entropy, "baseline_cross_entropy": found.baseline_cross_entropy}
        note = f"The decoder was trained on {len(known)} images that nobody trained with."
        guess = mean_image(shown)
        originals = shown.own.inputs[rows]
        return recovered(originals, found.images * 2 - 1, guess, "a decoder", note=note, details=details)


def _of_pictures(target: Target) -> Target:
    """Return a target whose own and auxiliary samples are pictures alone, where each has a picture among other inputs.

    Raises
    ------
    UsageError
        If not exactly one of a sample's inputs is a picture.
    """
    if target.layout is None:
        return target
    own, auxiliary = (
        Samples(target.pictures(samples.tensor), samples.targets) for samples in (target.own, target.auxiliary)
    )
    return replace(target, own=own, auxiliary=auxiliary, layout=None)
