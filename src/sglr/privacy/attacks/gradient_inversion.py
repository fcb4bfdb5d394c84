"""Gradient inversion of federated learning: find the batch whose weight gradients are the ones of a client's step."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.core.random import key
from sglr.core.task import Serves
from sglr.privacy.attack import Attack, AttackResult, require_positive
from sglr.privacy.images import attacked_rows, mean_image, recovered, total_variation
from sglr.privacy.target import Target
from sglr.privacy.threat import Sees

__all__ = ["GradientInversion"]

Gradients = Sequence[Tensor]


@dataclass(frozen=True)
class GradientInversion(Attack):
    """Minimise 1 − cos(∇L(x), g) + λ TV(x) over the images of a batch (Zhu et al.; Geiping et al., eq. 4).

    g is what a step of one batch does to the weights of the whole model. Steps go by the gradient's sign. Labels are
    read off g first: a label's score has a negative gradient (Zhao et al., iDLG, arXiv 2001.02610).
    """

    attacker: ClassVar[str] = "server"
    needs: ClassVar[frozenset[Sees]] = frozenset({Sees.UPDATES, Sees.LOWER, Sees.UPPER, Sees.ARCHITECTURE})
    source: ClassVar[str] = "Zhu et al., arXiv 1906.08935; Geiping et al., arXiv 2003.14053"
    serves: ClassVar[Serves] = Serves.CLASSIFICATION

    samples: int = field(default=32, metadata={"help": "images to recover, in batches"})
    batch: int = field(default=0, metadata={"help": "images of one step; 0 for the training's own batch size"})
    trained: bool = field(default=False, metadata={"help": "attack the trained network instead of its first round"})
    steps: int = field(default=400, metadata={"help": "steps of the optimization, per batch"})
    rate: float = field(default=0.1, metadata={"help": "step size of the optimization"})
    smoothness: float = field(default=0.01, metadata={"help": "weight λ of the total variation"})

    def __post_init__(self) -> None:
        require_positive(self, "samples", "steps", "rate")

    def carry_out(self, target: Target) -> AttackResult:
        """Recover images of the client's own, batch by batch, from what a step on each does to the weights.

        Raises
        ------
        UsageError
            If it has fewer than 8 images, or these are none, or the last layers stay with the client, or are frozen.
        """
        if target.feature_gradients is not None:
            problem = "the last layers stay with the client, and labels are read off their update"
            raise UsageError("attack", "gradient-inversion", problem, "attack a run whose clients share all layers")
        if not [*target.lower.parameters(), *target.upper.parameters()][-1].requires_grad:
            problem = "the last layer is frozen, and labels are read off its update"
            raise UsageError("attack", "gradient-inversion", problem, "attack a run that trains its last layer")
        size = self.batch or target.batch_size
        rows = attacked_rows(target, self.samples)
        lower, upper = self._segments(target)
        found, originals = [], []
        for number, batch in enumerate(torch.split(rows, size)):
            shape = (len(batch), *target.own.inputs.shape[1:])
            revealed = target.updates(batch, lower, upper)
            images = self._invert(nn.Sequential(lower, upper), revealed, shape, target, number)
            wanted = target.own.inputs[batch]
            found.append(images[_matching(images, wanted)])
            originals.append(wanted)
        note = f"A step is one of {size} images, of a network {'trained' if self.trained else 'with first weights'}; "
        note += "an attacker that sees weights only after many steps sees less. "
        note += "Images of a batch have no order: the best assignment is scored."
        return recovered(torch.cat(originals), torch.cat(found), mean_image(target), "gradient inversion", note=note)

    def _segments(self, target: Target) -> tuple[nn.Module, nn.Module]:
        if self.trained:
            return copy.deepcopy(target.lower), copy.deepcopy(target.upper)
        seed = key(target.seed, "first round")
        return target.fresh(seed).eval(), target.fresh_upper(seed).eval()

    def _invert(
        self, model: nn.Module, revealed: Gradients, shape: tuple[int, ...], target: Target, number: int
    ) -> Tensor:
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        labels = inferred_labels(revealed, shape[0], target.classes)
        generator = torch.Generator().manual_seed(key(target.seed, "gradient inversion", number))
        images = torch.randn(shape, generator=generator).mul_(0.1).requires_grad_()
        optimizer = torch.optim.Adam([images], self.rate)
        falls = [self.steps * eighths // 8 for eighths in (3, 5, 7)]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, falls, 0.1)
        for _ in range(self.steps):
            losses = target.task.losses(model(images), labels)
            gradients = torch.autograd.grad(losses.mean(), weights, create_graph=True)
            error = 1 - _cosine(gradients, revealed) + self.smoothness * total_variation(images)
            (images.grad,) = torch.autograd.grad(error, [images])
            images.grad.sign_()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                images.clamp_(-1, 1)
        return images.detach()


def inferred_labels(revealed: Gradients, count: int, classes: int) -> Tensor:
    """Return the labels of a batch, ``[count]`` in ascending order, read off the last layer's gradients.

    The gradient of class k's bias is the mean of p_k − y_k; without a bias, the sum over a row of weights has its sign.
    The lowest is given a label and raised by 1 / ``count``, again and again. One label is certain, more are exact if
    the network gives all classes the same probability, as a fresh one nearly does.
    """
    scores = revealed[-1].reshape(classes, -1).sum(1).clone()
    if revealed[-1].dim() > 1:
        scores /= scores.clamp(max=0).sum().abs().clamp(min=1e-12)
    found: list[int] = []
    for _ in range(count):
        found.append(int(scores.argmin()))
        scores[found[-1]] += 1 / count
    return torch.tensor(sorted(found))


def _cosine(first: Gradients, second: Gradients) -> Tensor:
    def product(left: Gradients, right: Gradients) -> Tensor:
        return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()

    sizes = product(first, first) * product(second, second)
    return product(first, second) / sizes.clamp(min=1e-24).sqrt()


def _matching(images: Tensor, originals: Tensor) -> Tensor:
    """Return which image belongs to which original: the assignment of the smallest squared error."""
    from scipy.optimize import linear_sum_assignment

    errors = (images[None] - originals[:, None]).square().flatten(2).mean(2)
    return torch.from_numpy(linear_sum_assignment(errors.numpy())[1])
