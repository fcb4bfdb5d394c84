"""White-box inversion: find the images whose smashed data are the ones seen, knowing the client's weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from sglr.privacy.attack import Attack, AttackResult, require_positive
from sglr.privacy.images import attacked_rows, mean_image, recovered, total_variation
from sglr.privacy.target import Target
from sglr.privacy.threat import Sees

__all__ = ["WhiteBox"]


@dataclass(frozen=True)
class WhiteBox(Attack):
    """Minimise ‖f(x) − s‖² / ‖s‖² + λ TV(x) over images x in ±1, by Adam (He et al., 2019, algorithm 1).

    The error is divided by the size of the smashed data, so that λ means the same at every cut.
    """

    attacker: ClassVar[str] = "server"
    needs: ClassVar[frozenset[Sees]] = frozenset({Sees.SMASHED, Sees.LOWER})
    source: ClassVar[str] = "He, Zhang and Lee, Model inversion attacks against collaborative inference, ACSAC 2019"

    samples: int = field(default=32, metadata={"help": "images to recover"})
    steps: int = field(default=500, metadata={"help": "steps of the optimization"})
    rate: float = field(default=0.1, metadata={"help": "step size of the optimization"})
    smoothness: float = field(default=0.01, metadata={"help": "weight λ of the total variation"})

    def __post_init__(self) -> None:
        require_positive(self, "samples", "steps", "rate")

    def carry_out(self, target: Target) -> AttackResult:
        """Recover images of the client's own from what it sends of them.

        Raises
        ------
        UsageError
            If it has fewer than 8 images, or these are none.
        """
        originals = target.own.inputs[attacked_rows(target, self.samples)]
        images = self._invert(target.lower, target.send(originals), originals.shape)
        note = "The attacker knows the client's weights, like everyone who merges them or receives the merged ones."
        return recovered(originals, images, mean_image(target), "white-box inversion", note=note)

    def _invert(self, lower: nn.Module, smashed: Tensor, shape: torch.Size) -> Tensor:
        lower = copy.deepcopy(lower).requires_grad_(False)
        size = smashed.square().mean().clamp(min=1e-12)
        images = torch.zeros(shape).requires_grad_()
        optimizer = torch.optim.Adam([images], self.rate)
        for _ in range(self.steps):
            optimizer.zero_grad()
            error = (lower(images) - smashed).square().mean() / size
            torch.autograd.backward(error + self.smoothness * total_variation(images))
            optimizer.step()
            with torch.no_grad():
                images.clamp_(-1, 1)
        return images.detach()
