"""Attacks on several clients of a run, as one record each for ``leakage.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sglr.core.registry import ATTACKS
from sglr.core.spec import Spec, options_of
from sglr.leakage.measure_clients import over_clients
from sglr.privacy.attack import AttackResult
from sglr.privacy.target import Target


@dataclass(frozen=True)
class Chosen:
    """An attack with its options.

    Parameters
    ----------
    name
        Its name in the registry.
    attack
        The attack, its options set.
    attacker
        Who carries it out.
    """

    name: str
    attack: Any
    attacker: str

    @property
    def options(self) -> dict[str, Any]:
        """What was set, and the defaults of the rest."""
        return asdict(self.attack)


def choose_attack(spec: str, attacker: str | None = None) -> Chosen:
    """Read an attack as it is written: ``unsplit`` or ``decoder:samples=64,steps=500``.

    Parameters
    ----------
    spec
        What was written.
    attacker
        Who carries it out; None is who does in the attack's source.

    Raises
    ------
    UsageError
        If there is no such attack or option, or an option's value is wrong.
    """
    written = Spec.parse("attack", spec)
    name = written.name.replace("_", "-")
    part = ATTACKS.load(name)
    return Chosen(name, part(**written.options(options_of(part))), attacker or part.attacker)


def attack_clients(chosen: Chosen, clients: Sequence[int], target: Callable[[int, str], Target]) -> dict[str, Any]:
    """Attack clients one by one, and return the record of it.

    Parameters
    ----------
    chosen
        The attack.
    clients
        The clients that are attacked.
    target
        Gives a client as an attacker sees it.

    Raises
    ------
    UsageError
        If the threat model forbids what the attack needs, or there are too few samples.
    """
    found = {client: chosen.attack(target(client, chosen.attacker)) for client in clients}
    return attack_record(chosen, found)


def attack_record(chosen: Chosen, found: Mapping[int, AttackResult]) -> dict[str, Any]:
    """Return the record of an attack on some clients: means, each one's figures, pictures of the first."""
    first = next(iter(found.values()))
    combined = over_clients([{"score": one.score, "baseline": one.baseline, **one.details} for one in found.values()])
    score, baseline = combined.pop("score"), combined.pop("baseline")
    return {
        "attack": chosen.name,
        "options": chosen.options,
        "attacker": chosen.attacker,
        "source": type(chosen.attack).source,
        "measure": first.measure,
        "more_leaks": first.more_leaks,
        "score": score.record(),
        "baseline": baseline.record(),
        "details": {name: estimate.record() for name, estimate in combined.items()},
        "succeeds": sum(one.succeeds for one in found.values()),
        "clients": {
            str(client): {"score": one.score.record(), "baseline": one.baseline.record(), "succeeds": one.succeeds}
            for client, one in found.items()
        },
        "note": first.note,
        "pictures": {title: images.mean(1).tolist() for title, images in first.pictures.items()},
    }
