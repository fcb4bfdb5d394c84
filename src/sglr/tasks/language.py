"""Tokens at every position of a text: the cross-entropy of each text's own tokens, and perplexity as the headline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.task import Sums, Targets, refuse_targets
from sglr.metrics.with_metrics import WithMetrics

__all__ = ["Language"]

NOT_ASKED = -100
"""The target of a position that the network is not asked about, as in torch."""
TOP = 5
"""Tokens of which one must be right for the second accuracy."""


@dataclass(frozen=True)
class Language(WithMetrics):
    """Texts of L positions, each with the token that the network is to tell, or -100 where it is asked nothing.

    What is asked is in the targets, made where texts are read: for the next token, the text shifted by one; for masked
    tokens, those that were replaced in the input. The task is the same for both, and so is what crosses the cut; with
    labels at the server it sees the text, with a tail it does not.

    Raises
    ------
    UsageError
        If the padding token is negative.
    """

    pad: int | None = field(
        default=None,
        metadata={"help": "token that fills up short texts and does not count", "clients": "take", "since": "0.2.0"},
    )

    headline: ClassVar[str] = "perplexity"
    usual: ClassVar[tuple[str, ...]] = ("perplexity", "token_accuracy", "top5_accuracy")
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a padding that is no token."""
        if self.pad is not None and self.pad < 0:
            raise UsageError("pad", self.pad, "tokens are counted from 0", "leave it out, or give the padding's number")

    def check(self, targets: Targets) -> None:
        """Refuse targets that are no texts, and a padding token outside the vocabulary."""
        if targets.classes < 2 or len(targets.shape) != 1 or targets.dtype != "int64":
            problem = "each sample needs one token for each of its positions"
            raise refuse_targets("language", targets, problem, "give tokens [N, L], or name another task")
        if self.pad is not None and self.pad >= targets.classes:
            problem = f"the vocabulary has the tokens 0 to {targets.classes - 1}"
            raise UsageError("pad", self.pad, problem, "give the padding's number")

    def fitted(self, data: ClientData) -> Self:
        """Return the task itself, having looked at the tokens.

        Raises
        ------
        UsageError
            If a target is no token and not -100.
        """
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        for name, samples in parts.items():
            found = torch.unique(samples.targets if samples is not None else torch.zeros(0)).tolist()
            wrong = [int(token) for token in found if not (0 <= token < data.targets.classes or token == NOT_ASKED)]
            if wrong:
                problem = f"the vocabulary has the tokens 0 to {data.targets.classes - 1}"
                remedy = "give tokens of it, or -100 where nothing is asked"
                raise UsageError(f"{name}.targets", wrong[0], problem, remedy)
        return self

    def outputs(self, targets: Targets) -> int:
        """Return K, the size of the vocabulary."""
        return targets.classes

    def output_shape(self, targets: Targets) -> tuple[int, ...]:
        """Return ``(L, K)``."""
        return (*targets.shape, targets.classes)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of each text's own tokens ``[N]``, from outputs ``[N, L, K]`` and ``[N, L]``.

        A text that is asked nothing has the loss 0.
        """
        entropy, asked = self._entropy(outputs, targets)
        return entropy.sum(1) / asked.sum(1).clamp(min=1)

    def _entropy(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of every position, 0 where nothing is asked, and where something is: ``[N, L]``."""
        asked = self._asked(targets)
        wanted = targets.where(asked, 0)
        each = F.cross_entropy(outputs.flatten(0, 1), wanted.flatten(), reduction="none")
        return each.view(targets.shape) * asked, asked

    def _asked(self, targets: Tensor) -> Tensor:
        asked = torch.ne(targets, NOT_ASKED)
        return asked if self.pad is None else asked & torch.ne(targets, self.pad)

    @property
    def ignored(self) -> frozenset[int]:
        """The number -100, of positions that are asked nothing."""
        return frozenset({NOT_ASKED})

    def predictions(self, outputs: Tensor, targets: Targets) -> dict[str, Tensor | list[str]]:
        """Return the likeliest token at each position ``[N, L]``, and its probability."""
        del targets
        probability, token = outputs.softmax(2).max(2)
        return {"token": token, "probability": probability}

    def hits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the share of each text's tokens that are told rightly, ``[N]``; 0 if it is asked nothing."""
        asked = self._asked(targets)
        right = (outputs.argmax(2) == targets) & asked
        return right.sum(1) / asked.sum(1).clamp(min=1)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return tokens, those told rightly, those among the five likeliest, and their cross-entropy, ``[n]`` each.

        Parameters
        ----------
        outputs
            ``[n, m, L, K]``.
        targets
            ``[m, L]``.
        """
        clients = len(outputs)
        every = targets.repeat(clients, 1)
        entropy, asked = self._entropy(outputs.flatten(0, 1), every)
        ranked = outputs.flatten(0, 1).topk(min(TOP, outputs.shape[3])).indices == every.unsqueeze(2)
        counted = {
            "tokens": asked,
            "right": ranked[..., 0] & asked,
            "right_of_top": ranked.any(2) & asked,
            "entropy": entropy.double(),
        }
        own = {name: values.view(clients, -1).sum(1) for name, values in counted.items()}
        tokens = targets.where(asked[: len(targets)], NOT_ASKED).flatten()
        return own | self.further_sums(0, lambda: outputs.flatten(1, 2).softmax(2), tokens)

    def scores(self, sums: Sums) -> dict[str, Tensor]:
        """Return perplexity and accuracies over all tokens, of every client ``[n]``.

        Perplexity is the exponential of the mean cross-entropy: K for a network that knows nothing, 1 for one that
        knows all. ``top5_accuracy`` is the share of tokens that are among the network's five likeliest.
        """
        tokens = sums["tokens"].double()
        return {
            "perplexity": (sums["entropy"] / tokens).exp(),
            "token_accuracy": sums["right"] / tokens,
            "top5_accuracy": sums["right_of_top"] / tokens,
            **self.further_scores(0, sums),
        }

    def metric_arguments(self, outputs: int) -> dict[str, Any]:
        """Return what metrics of torchmetrics take: the number for what does not count; not K, which sums don't tell.

        They get probabilities ``[tokens, K]`` and tokens ``[tokens]``, of all texts one after another.
        """
        del outputs
        return {"ignore_index": NOT_ASKED}
