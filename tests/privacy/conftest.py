"""A small trained network to attack, and targets that forbid what an attack has not declared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sglr
from sglr.core.data import Samples
from sglr.leakage.open_run import open_run
from sglr.privacy.attack import Attack
from sglr.privacy.target import Target
from sglr.privacy.threat import Sees

SETTINGS: dict[str, Any] = {"model": "cnn", "clients": 2, "threads": 1, "stacking": "stacked"}


@pytest.fixture(scope="session")
def digits(once: Callable[[str, Callable[[Path], object]], Path]) -> Target:
    """A client of parallel split learning on digits, which the attacker of any attack may be shown."""

    def train(path: Path) -> None:
        sglr.train("psl", dataset="digits", epochs=3, out=path, **SETTINGS)

    return open_run(sglr.Run.open(once("attacked", train))).target(0)


def allow(target: Target, attack: Attack | type[Attack], **changes: Any) -> Target:
    """Return the target as one who sees just what the attack needs."""
    return dataclasses.replace(target, attacker=attack.attacker, seen=attack.needs, **changes)


def quick(attack: type[Attack]) -> Attack:
    """Return the attack with few samples and steps: whether it works well is not asked."""
    least = {"samples": 24, "steps": 2, "rounds": 2, "epochs": 1, "auxiliary": 64}
    names = {field.name for field in dataclasses.fields(attack)}
    return attack(**{name: value for name, value in least.items() if name in names})


def noisy(target: Target, size: float) -> Target:
    """Return the target with Gaussian noise on what it sends, ``size`` standard deviations of it."""
    plain = target.send

    def send(inputs: torch.Tensor) -> torch.Tensor:
        smashed = plain(inputs)
        generator = torch.Generator().manual_seed(len(inputs))
        return smashed + size * smashed.std() * torch.randn(smashed.shape, generator=generator)

    return dataclasses.replace(target, send=send)


class Forbidden:
    """Something that must not be looked at."""

    def __init__(self, what: str) -> None:
        self.__dict__["what"] = what

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the attack used {self.__dict__['what']} without declaring it")

    def __call__(self, *args: Any) -> Any:
        return self.called

    def __len__(self) -> int:
        return int(self.counted)


GUARDED = {
    "send": {Sees.SMASHED, Sees.QUERIES, Sees.MODEL},
    "gradients": {Sees.CUT_GRADIENTS},
    "updates": {Sees.UPDATES},
    "lower": {Sees.LOWER, Sees.MODEL},
    "upper": {Sees.UPPER, Sees.MODEL},
    "fresh": {Sees.ARCHITECTURE},
    "fresh_upper": {Sees.UPPER, Sees.ARCHITECTURE},
    "auxiliary": {Sees.AUXILIARY},
}
"""What an attack must have declared one of to use a part of the target."""


def guarded(target: Target, attack: Attack) -> Target:
    """Return the target with everything forbidden that the attack has not declared."""
    forbidden = {part: Forbidden(part) for part, sees in GUARDED.items() if not sees & attack.needs}
    allowed = allow(target, attack, **forbidden)
    if {Sees.QUERIES, Sees.MODEL} & attack.needs or "send" in forbidden:
        return allowed
    return dataclasses.replace(allowed, send=lambda inputs: target.send(_owned(target.own, inputs)))


def _owned(own: Samples, inputs: torch.Tensor) -> torch.Tensor:
    apart = torch.cdist(inputs.double().flatten(1), own.inputs.double().flatten(1)).min(1).values
    assert float(apart.max()) < 1e-3, "the attack asked for smashed data of inputs that are not the client's"
    return inputs
