"""The attack protocol: one frozen dataclass per file of ``sglr/privacy/attacks``, its fields being what may be set.

It attacks a trained network; what takes part in the training is in ``sglr/privacy/active``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from sglr.core.errors import UsageError
from sglr.core.task import Serves
from sglr.privacy.measures.estimate import Estimate
from sglr.privacy.target import Target
from sglr.privacy.threat import Sees, require


@dataclass(frozen=True)
class AttackResult:
    """What an attack achieved.

    Parameters
    ----------
    score
        How well it did.
    baseline
        The score of an attacker that sees nothing, to compare with.
    measure
        What the score measures, in a few words for tables, e.g. ``"accuracy"`` or ``"mean squared error"``.
    more_leaks
        True if a larger score means more leakage.
    details
        Further figures by name.
    pictures
        Rows of images ``[n, channels, height, width]`` in [0, 1] by title, the originals first; empty where the attack
        shows none.
    note
        What a reader must know to interpret the score, in a sentence or two.
    """

    score: Estimate
    baseline: Estimate
    measure: str
    more_leaks: bool
    details: Mapping[str, Estimate] = field(default_factory=dict)
    pictures: Mapping[str, Tensor] = field(default_factory=dict)
    note: str = ""

    @property
    def succeeds(self) -> bool:
        """True if the score is better than the baseline by more than both intervals."""
        better, worse = (self.score, self.baseline) if self.more_leaks else (self.baseline, self.score)
        low = better.value if better.low is None else better.low
        high = worse.value if worse.high is None else worse.high
        return low > high


@dataclass(frozen=True)
class Attack(ABC):
    """An attack on one client of a trained network.

    Attributes
    ----------
    attacker
        Who carries it out in its source: ``"server"``, ``"client"`` or ``"outsider"``.
    needs
        What the attacker must see.
    source
        The publication.
    serves
        Which tasks it attacks.
    """

    attacker: ClassVar[str]
    needs: ClassVar[frozenset[Sees]]
    source: ClassVar[str]
    serves: ClassVar[Serves] = Serves.ANY

    @abstractmethod
    def carry_out(self, target: Target) -> AttackResult:
        """Attack, knowing what `needs` names and nothing more.

        Raises
        ------
        UsageError
            If there are too few samples, or inputs are of another kind than it works on.
        """

    def __call__(self, target: Target) -> AttackResult:
        """Attack, if this attacker sees what is needed.

        Raises
        ------
        UsageError
            If the threat model forbids what the attack needs, it does not serve the task, or as `carry_out` does.
        """
        require(self, target.attacker, self.needs, target.seen)
        self.serves.require("attack", type(self).__name__, target.task, target.own.targets[:1])
        return self.carry_out(target)


def require_positive(attack: Attack, *names: str) -> None:
    """Refuse fields that are not above 0.

    Raises
    ------
    UsageError
        If one is not, naming it.
    """
    for name in names:
        value = getattr(attack, name)
        if not value > 0:
            raise UsageError(name, value, "is not above 0", "give a positive number")
