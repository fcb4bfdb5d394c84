"""Label inference by the direction of cut gradients, one sample per class being known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sglr.core.task import Serves
from sglr.privacy.attack import Attack, AttackResult
from sglr.privacy.gradients import attacked_gradients
from sglr.privacy.measures.label_leakage import by_direction
from sglr.privacy.target import Target
from sglr.privacy.threat import Sees

__all__ = ["LabelDirection"]


@dataclass(frozen=True)
class LabelDirection(Attack):
    """Give each sample the label of the known sample whose gradient has the largest cosine with its own (section 3.2).

    The source tells two classes apart by the sign of the cosine; with one known sample of each class it tells them all.
    """

    attacker: ClassVar[str] = "outsider"
    needs: ClassVar[frozenset[Sees]] = frozenset({Sees.CUT_GRADIENTS})
    source: ClassVar[str] = "Li et al., Label leakage and protection in two-party split learning, arXiv 2102.08504"
    serves: ClassVar[Serves] = Serves.CLASSES

    samples: int = field(default=1000, metadata={"help": "samples whose label is inferred, at most"})

    def carry_out(self, target: Target) -> AttackResult:
        """Infer the labels of the client's samples.

        Raises
        ------
        UsageError
            If there are fewer than 10 samples, or one class only.
        """
        inferred = by_direction(*attacked_gradients(target, self.samples), seed=target.seed)
        return AttackResult(
            score=inferred.accuracy,
            baseline=inferred.baseline,
            measure="accuracy",
            more_leaks=True,
            note="The attacker knows the label of one sample of every class, drawn at random; these are not counted.",
        )
