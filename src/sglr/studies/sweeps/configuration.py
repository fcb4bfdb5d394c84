"""A configuration of a sweep: its experiments, one for every seed, and what tells it from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sglr.core.errors import UsageError
from sglr.runs.config import Experiment
from sglr.runs.presets import PRESET
from sglr.studies.method_specs import Variant

METHOD, NAME, SEED = "method", "name", "seed"


@dataclass(frozen=True)
class Configuration:
    """What is trained once for every seed.

    Parameters
    ----------
    label
        Its name, if it has one, else what it sets: ``"sglr:phi=0.5, lr=0.01"``.
    values
        Its value of every setting in which configurations of the sweep differ; None where it lacks that setting.
    experiments
        One for every seed.
    """

    label: str
    values: Mapping[str, Any]
    experiments: tuple[Experiment, ...]

    @property
    def seeds(self) -> list[int]:
        """The seeds of its experiments."""
        return [experiment.seed for experiment in self.experiments]


def described(settings: Mapping[str, Any], seeds: Sequence[Any]) -> tuple[Experiment, ...]:
    """Return the experiments that settings make, one for every seed, with parameters of the method checked.

    Raises
    ------
    UsageError
        If a setting is unknown or out of range, the method lacks it, or a part has no name.
    """
    for part in ("method", "model", "task"):
        if not isinstance(settings.get(part), str | None):
            problem = "is a Python object, and a sweep names its parts"
            raise UsageError(part, f"<{type(settings[part]).__name__}>", problem, "give package.module:name")
    own = dict(settings)
    variant = Variant.of(str(own.pop(METHOD, Experiment.model_fields[METHOD].default)))
    return tuple(variant.describe({**own, SEED: seed})[0] for seed in seeds)


def told_apart(made: Sequence[tuple[Mapping[str, Any], tuple[Experiment, ...]]]) -> list[Configuration]:
    """Name configurations by the settings in which they differ.

    Parameters
    ----------
    made
        For each configuration what it sets beside the shared settings, and its experiments.

    Raises
    ------
    UsageError
        If two configurations are the same experiment, or have the same name.
    """
    flats = [
        {PRESET: own.get(PRESET), **experiments[0].flat(), METHOD: _method(own, experiments)}
        for own, experiments in made
    ]
    set_somewhere = dict.fromkeys(key for own, _ in made for key in own if key not in (SEED, NAME))
    keys = sorted(set_somewhere, key=lambda key: key != METHOD)
    differing = [key for key in keys if any(flat.get(key) != flats[0].get(key) for flat in flats)] or [METHOD]
    found = []
    for (own, experiments), flat in zip(made, flats, strict=True):
        values = {key: flat.get(key) for key in differing}
        found.append(Configuration(str(own.get(NAME) or _label(values)), values, experiments))
    _refuse_twins(found)
    return found


def _method(own: Mapping[str, Any], experiments: Sequence[Experiment]) -> str:
    """Return the method with the parameters that were written with it."""
    return Variant.of(str(own[METHOD])).label if METHOD in own else experiments[0].method


def _label(values: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in values.items() if value is not None}
    return ", ".join(str(value) if key == METHOD else f"{key}={value}" for key, value in shown.items())


def _refuse_twins(configurations: Sequence[Configuration]) -> None:
    owners: dict[str, int] = {}
    labels: set[str] = set()
    for number, one in enumerate(configurations):
        for experiment in one.experiments:
            twin = owners.setdefault(experiment.fingerprint(), number)
            if twin != number:
                problem = f"is the same training as {configurations[twin].label!r}, seed {experiment.seed}"
                raise UsageError("configuration", one.label, problem, "leave out one of the two")
        if one.label in labels:
            raise UsageError("name", one.label, "is the name of two configurations", "give each a name of its own")
        labels.add(one.label)
