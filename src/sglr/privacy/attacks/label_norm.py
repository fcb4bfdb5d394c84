"""Label inference by the norm of cut gradients: which samples are of one class, against all others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from sglr.core.task import Serves
from sglr.privacy.attack import Attack, AttackResult
from sglr.privacy.gradients import attacked_gradients, require_class
from sglr.privacy.measures.estimate import Estimate
from sglr.privacy.measures.label_leakage import by_norm, norm_auc
from sglr.privacy.target import Target
from sglr.privacy.threat import Sees

__all__ = ["LabelNorm"]


@dataclass(frozen=True)
class LabelNorm(Attack):
    """Take the samples of the largest ‖g‖ for the rarer class: a network predicts it less well (section 3.1).

    It tells two classes apart. Of more, one is told from all others. The score is the source's leak AUC, which needs
    no threshold: how often a sample of the class has a larger gradient than one of another class.
    """

    attacker: ClassVar[str] = "outsider"
    needs: ClassVar[frozenset[Sees]] = frozenset({Sees.CUT_GRADIENTS})
    source: ClassVar[str] = "Li et al., Label leakage and protection in two-party split learning, arXiv 2102.08504"
    serves: ClassVar[Serves] = Serves.CLASSES

    samples: int = field(default=1000, metadata={"help": "samples whose label is inferred, at most"})
    positive: int | None = field(
        default=None, metadata={"help": "number of the class told from all others; none is the client's rarest"}
    )

    def carry_out(self, target: Target) -> AttackResult:
        """Infer which of the client's samples are of the class.

        Raises
        ------
        UsageError
            If there are fewer than 10 samples, one class only, or no sample of the class.
        """
        gradients, labels = attacked_gradients(target, self.samples)
        if self.positive is not None:
            require_class(labels, self.positive)
        classes, counts = torch.unique(labels, return_counts=True)
        positive = int(classes[counts.argmin()]) if self.positive is None else self.positive
        inferred = by_norm(gradients, labels, positive=positive)
        half = Estimate(0.5, 0.5, 0.5, "a guess that uses no gradients", "1", len(labels))
        return AttackResult(
            score=norm_auc(gradients, labels, positive=positive),
            baseline=half,
            measure="leak AUC",
            more_leaks=True,
            details={"accuracy": inferred.accuracy, "baseline_accuracy": inferred.baseline},
            note=f"Class {positive} against all others; the accuracy is that of an attacker that knows how many "
            "samples the class has.",
        )
