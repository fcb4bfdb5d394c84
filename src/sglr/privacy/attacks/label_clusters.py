"""Label inference by clusters of cut gradients: gradients of one class form a cluster; no label is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sglr.core.task import Serves
from sglr.privacy.attack import Attack, AttackResult
from sglr.privacy.gradients import attacked_gradients
from sglr.privacy.measures.label_leakage import by_clusters
from sglr.privacy.target import Target
from sglr.privacy.threat import Sees

__all__ = ["LabelClusters"]


@dataclass(frozen=True)
class LabelClusters(Attack):
    """Cluster the directions of gradients by k-means, as many clusters as classes."""

    attacker: ClassVar[str] = "outsider"
    needs: ClassVar[frozenset[Sees]] = frozenset({Sees.CUT_GRADIENTS})
    source: ClassVar[str] = "Liu and Lyu, Clustering label inference attack against split learning, arXiv 2203.05222"
    serves: ClassVar[Serves] = Serves.CLASSES

    samples: int = field(default=1000, metadata={"help": "samples whose label is inferred, at most"})

    def carry_out(self, target: Target) -> AttackResult:
        """Infer the labels of the client's samples.

        Raises
        ------
        UsageError
            If there are fewer than 10 samples, or one class only.
        """
        inferred = by_clusters(*attacked_gradients(target, self.samples), seed=target.seed)
        return AttackResult(
            score=inferred.accuracy,
            baseline=inferred.baseline,
            measure="accuracy",
            more_leaks=True,
            note="Clusters get labels by the best matching with the truth, "
            "as for an attacker that learns later which cluster is which.",
        )
