"""Hide other tokens of a text in every epoch: the targets are those that are hidden (masked language modelling)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.data.augmentation import Augmentation
from sglr.data.tokens import NOT_ASKED, masked_tokens

__all__ = ["MaskedTokens"]

MOST = 0.5
"""Share of asked positions above which targets are those of next tokens, and not of hidden ones."""


@dataclass(frozen=True)
class MaskedTokens(Augmentation):
    """Texts are read with some tokens hidden; each epoch restores them, and hides others, as RoBERTa is trained."""

    mask: int | None = field(default=None, metadata={"help": "the token that hides others"})
    share: float = field(default=0.15, metadata={"help": "share of a text's tokens that is chosen"})
    pad: int | None = field(default=None, metadata={"help": "the token that fills up short texts"})
    vocabulary: int = field(default=0, init=False)

    def fitted(self, inputs: Tensor, targets: Targets) -> Self:
        """Return the augmentation for texts of this vocabulary; raise UsageError if samples are no texts."""
        if inputs.dtype != torch.int64 or inputs.dim() != 1 or targets.shape != tuple(inputs.shape):
            problem = f"changes texts with a target for each token, and the targets are {targets.describe()}"
            raise UsageError("augment", "masked-tokens", problem, "leave it out")
        if self.mask is None:
            remedy = "give its number, as in masked-tokens:mask=103"
            raise UsageError("augment", "masked-tokens", "the token that hides others is not given", remedy)
        masked_tokens(inputs[None], self.mask, targets.classes, np.random.default_rng(0), self.share, self.pad)
        fitted = replace(self)
        object.__setattr__(fitted, "vocabulary", targets.classes)
        return fitted

    def change(self, inputs: Tensor, target: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return a text ``[L]`` with other tokens hidden, and these tokens ``[L]``, -100 elsewhere."""
        asked = target != NOT_ASKED
        own = len(inputs) if self.pad is None else int((inputs != self.pad).sum())
        if int(asked.sum()) > max(MOST, self.share) * own + 1:
            problem = "the targets are no hidden tokens: most positions have one"
            raise UsageError("augment", "masked-tokens", problem, "leave it out, or read texts with hidden tokens")
        assert self.mask is not None, "it was fitted"
        draws = np.random.default_rng(int(torch.randint(1 << 62, (), generator=rng)))
        whole = target.where(asked, inputs)[None].cpu()
        found = masked_tokens(whole, self.mask, self.vocabulary, draws, self.share, self.pad)
        return found.inputs[0].to(inputs.device), found.targets[0].to(target.device)
