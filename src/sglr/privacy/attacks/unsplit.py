"""UnSplit: recover images and a clone of the client's segment at once, knowing its architecture only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from sglr.core.random import key
from sglr.privacy.attack import Attack, AttackResult, require_positive
from sglr.privacy.images import (
    attacked_rows,
    mean_image,
    recovered,
    squared_error,
    total_variation,
    unit_range,
)
from sglr.privacy.target import Target
from sglr.privacy.threat import Sees

__all__ = ["Unsplit"]


@dataclass(frozen=True)
class Unsplit(Attack):
    """Minimise ‖f̃(x) − s‖² / ‖s‖² + λ TV(x) in turns over images x and the weights of a clone f̃ (algorithm 1).

    Nothing tells whether all images are negatives: a clone of weights with the other sign fits as well. The nearer of
    the two is scored. That choice is one bit for all images together; an attacker who looks at them knows it.
    """

    attacker: ClassVar[str] = "server"
    needs: ClassVar[frozenset[Sees]] = frozenset({Sees.SMASHED, Sees.ARCHITECTURE})
    source: ClassVar[str] = "Erdoğan, Küpçü and Çiçek, UnSplit, arXiv 2108.09033"

    samples: int = field(default=32, metadata={"help": "images to recover"})
    rounds: int = field(default=100, metadata={"help": "turns of images and clone"})
    steps: int = field(default=10, metadata={"help": "steps of the images, then of the clone, in each round"})
    rate: float = field(default=0.05, metadata={"help": "step size of the images"})
    clone_rate: float = field(default=0.003, metadata={"help": "step size of the clone's weights"})
    smoothness: float = field(default=0.01, metadata={"help": "weight λ of the total variation"})

    def __post_init__(self) -> None:
        require_positive(self, "samples", "rounds", "steps", "rate", "clone_rate")

    def carry_out(self, target: Target) -> AttackResult:
        """Recover images of the client's own from what it sends of them.

        Raises
        ------
        UsageError
            If it has fewer than 8 images, or these are none.
        """
        originals = target.own.inputs[attacked_rows(target, self.samples)]
        clone = target.fresh(key(target.seed, "clone"))
        images = self._alternate(clone, target.send(originals), originals.shape)
        wanted = unit_range(originals)
        positive, negative = (
            squared_error(unit_range(each), wanted, f"mean squared error of the {name}")
            for each, name in ((images, "images as found"), (-images, "images' negatives"))
        )
        nearer = images if positive.value <= negative.value else -images
        note = "The images or their negatives are scored, all the same way, whichever are nearer: a person sees which."
        details = {"as found": positive, "negatives": negative}
        return recovered(originals, nearer, mean_image(target), "UnSplit", note=note, details=details)

    def _alternate(self, clone: nn.Module, smashed: Tensor, shape: torch.Size) -> Tensor:
        size = smashed.square().mean().clamp(min=1e-12)
        images = torch.zeros(shape).requires_grad_()
        of_images = torch.optim.Adam([images], self.rate, amsgrad=True)
        weights = [weight for weight in clone.parameters() if weight.requires_grad]
        of_clone = torch.optim.Adam(weights, self.clone_rate, amsgrad=True) if weights else None
        for _ in range(self.rounds):
            for _ in range(self.steps):
                of_images.zero_grad()
                error = (clone(images) - smashed).square().mean() / size
                torch.autograd.backward(error + self.smoothness * total_variation(images), inputs=[images])
                of_images.step()
                with torch.no_grad():
                    images.clamp_(-1, 1)
            if of_clone is not None:
                self._fit(clone, of_clone, images.detach(), smashed, size)
        return images.detach()

    def _fit(
        self, clone: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, smashed: Tensor, size: Tensor
    ) -> None:
        for _ in range(self.steps):
            optimizer.zero_grad()
            torch.autograd.backward((clone(images) - smashed).square().mean() / size)
            optimizer.step()
