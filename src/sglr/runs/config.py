"""One experiment as validated settings: what ``config.toml`` holds and the command line's flags set.

All keys are flat, as on the command line: those of `Experiment`, and the fields of the chosen method, data set and
partitioner (``alpha``, ``image_size``, ``concentration``). Importing this file imports no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, get_type_hints

import tomli_w
from pydantic import Field, PrivateAttr, ValidationError

from sglr.core.errors import UsageError, refuse_long
from sglr.core.registry import ENGINES, MODELS, PARTS
from sglr.core.spec import name_in, problem_of, read_value
from sglr.runs.facts import SettingFacts, facts_of, facts_of_parameter
from sglr.runs.presets import PRESET, expanded
from sglr.runs.settings import Settings
from sglr.storage.toml_files import read_toml_file


class Experiment(Settings):
    """Settings of one training.

    Parameters of the chosen parts are in ``method_parameters`` and so on, by name.
    """

    _folder: Path | None = PrivateAttr(default=None)
    _trusted: frozenset[str] = PrivateAttr(default=frozenset())

    method_parameters: dict[str, Any] = Field(default_factory=dict)
    dataset_parameters: dict[str, Any] = Field(default_factory=dict)
    partition_parameters: dict[str, Any] = Field(default_factory=dict)
    merge_rule_parameters: dict[str, Any] = Field(default_factory=dict)
    task_parameters: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def from_flat(cls, settings: Mapping[str, Any]) -> Self:
        """Build an experiment from flat settings; what is not given is that of the ``preset`` named, or its default.

        Raises
        ------
        UsageError
            If a setting is unknown (the nearest is suggested), of the wrong kind, or out of range.
        """
        given = expanded(settings)
        own = {key: given.pop(key) for key in list(given) if key in SETTINGS}
        for key, value in own.items():
            if isinstance(value, str) and key != "dataset":  # which may be a path
                refuse_long(key, value)
        _check_names(own)
        own = _implied(str(own.get("method", cls.model_fields["method"].default))) | own
        own |= {key: new for (key, old), new in FORMER.items() if own.get(key) == old}
        chosen = {kind: own.get(kind, cls.model_fields[kind].default) for kind in PARTS}
        parts = {kind: part_fields(kind, str(name)) for kind, name in chosen.items()}
        parameters = {kind: _defaults(fields) for kind, fields in parts.items()}
        for key, value in given.items():
            owner = next((kind for kind, fields in parts.items() if key in fields), None)
            if owner is None:
                raise _unknown_setting(key, value, chosen, parts)
            parameters[owner][key] = _typed(key, value, _load(owner, chosen[owner]), parts[owner][key])
        own |= {f"{kind}_parameters": values for kind, values in parameters.items()}
        try:
            return cls(**own)
        except ValidationError as error:
            raise _explained(error) from error

    @classmethod
    def from_toml(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read an experiment from a TOML file of flat keys; ``overrides`` win, as does a preset that they name."""
        return cls.from_flat({**expanded(read_toml(path)), **expanded(overrides or {})})

    def folder_naming(self, setting: str) -> Path | None:
        """Return the run folder that names the code of a setting, if the user does not; code in it is never imported.

        Parameters
        ----------
        setting
            ``"model"``, ``"task"`` or ``"metrics"``.
        """
        return None if setting in self._trusted else self._folder

    @property
    def folder(self) -> Path | None:
        """The run folder that the settings were read from; None for a new run."""
        return self._folder

    def read_from(self, folder: Path | None, trusted: Iterable[str] = ()) -> Self:
        """Return the same settings, read from a run's folder, for a user who names the code of those ``trusted``."""
        copy = self.model_copy()
        copy._folder, copy._trusted = folder, frozenset(trusted)
        return copy

    def read_like(self, other: Experiment) -> Self:
        """Return the same settings, read from where others were, with the same trust."""
        return self.read_from(other._folder, other._trusted)

    def require(self, setting: str, given: object) -> None:
        """Refuse the name of other code than the run's.

        Raises
        ------
        UsageError
            If ``given`` is not the run's model, task or metrics.
        """
        own = self.own_metrics if setting == "metrics" else getattr(self, setting)
        if given != own:
            shown, wanted = (",".join(each) if isinstance(each, tuple) else each for each in (given, own))
            remedy = f"give {wanted}, or leave it out" if wanted else "leave it out"
            raise UsageError(setting, shown, f"the run's {setting} is {wanted or 'no own code'}", remedy)

    @property
    def own_metrics(self) -> tuple[str, ...]:
        """The metrics that are the user's own code."""
        return tuple(name for name in self.task_parameters.get("metrics", ()) if ":" in name)

    def flat(self) -> dict[str, Any]:
        """Return the settings as `from_flat` takes them, without those that are None."""
        values = self.model_dump(mode="json", exclude_none=True)
        for kind in PARTS:
            del values[f"{kind}_parameters"]
            parameters = self.model_dump(mode="json")[f"{kind}_parameters"]
            values |= {key: "none" if value is None else value for key, value in parameters.items()}
        return values

    def to_toml(self) -> str:
        """Return the settings as TOML."""
        return tomli_w.dumps(self.flat())

    def fingerprint(self) -> str:
        """Return a short hash of all settings that decide the result."""
        flat = self.flat()
        without = {key for key, (facts, default) in self._facts().items() if not facts.counts(flat.get(key) == default)}
        former = {(key, str(new)): old for (key, old), new in FORMER.items()}
        deciding = {key: former.get((key, str(value)), value) for key, value in flat.items() if key not in without}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]

    def _facts(self) -> dict[str, tuple[SettingFacts, Any]]:
        """Return facts and default, as `flat` writes it, of every setting and of every parameter of the named parts."""
        fields = {name: field for kind in PARTS for name, field in part_fields(kind, str(getattr(self, kind))).items()}
        of_parts = {name: (facts_of_parameter(field), _written(field.default)) for name, field in fields.items()}
        return of_parts | {name: (facts, type(self).model_fields[name].default) for name, facts in FACTS.items()}


def _check_names(own: Mapping[str, Any]) -> None:
    """Refuse names of parts that do not exist before any part is imported: many of them need torch."""
    for kind, registry in {**PARTS, "model": MODELS, "engine": ENGINES}.items():
        name = str(own.get(kind, Settings.model_fields[kind].default))
        if ":" not in name and not name.startswith("<") and (kind, name) != ("task", "auto"):
            registry.require(name)


def _written(default: Any) -> Any:
    return "none" if default is None else list(default) if isinstance(default, tuple) else default


USUAL_TASK = "classification"
"""The task that ``task = auto`` means; parameters of others need their name."""

SETTINGS = frozenset(Settings.model_fields)
"""The keys of an experiment that belong to no part."""

FORMER: Mapping[tuple[str, Any], Any] = {
    ("label_prior", "correct"): "own",
    ("pipelining", False): 0,
    ("pipelining", True): 1,
}
"""Values that are written otherwise now, by setting and old value; fingerprints are of the old values."""

FACTS: Mapping[str, SettingFacts] = {name: facts_of(field) for name, field in Settings.model_fields.items()}
"""What is known of each of them."""


def named(**facts: object) -> frozenset[str]:
    """Return the settings that have these facts, as in ``named(clients="take")``."""
    return frozenset(
        name for name, its in FACTS.items() if all(getattr(its, fact) == value for fact, value in facts.items())
    )


def told_to_clients(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of an experiment's flat settings that clients between sites are told."""
    hidden = {name for name, facts in FACTS.items() if not facts.told}
    for kind in PARTS:
        fields = part_fields(kind, str(settings.get(kind, "<none>")))
        hidden |= {name for name, field in fields.items() if not facts_of_parameter(field).told}
    return {name: value for name, value in settings.items() if name not in hidden}


def part_fields(kind: str, name: str) -> dict[str, dataclasses.Field[Any]]:
    """Return the parameters of the part that setting ``kind`` names, by name."""
    # An object given in Python; or a task of the user's own, which is not imported to read settings.
    if name.startswith("<") or (kind == "task" and ":" in name):
        return {}
    return {field.name: field for field in dataclasses.fields(_load(kind, name)) if field.init}


def _implied(method: str) -> dict[str, Any]:
    """Return the settings that make a method what it is, where the user names no others."""
    return {} if method.startswith("<") else dict(_load("method", method).settings)


def _load(kind: str, name: str) -> type[Any]:
    usual = USUAL_TASK if (kind, name) == ("task", "auto") else name_in(name)
    part: type[Any] = PARTS[kind].load(usual)
    return part


def _defaults(fields: Mapping[str, dataclasses.Field[Any]]) -> dict[str, Any]:
    """Return the defaults that are set, so that a run's settings name every parameter."""
    unset = (dataclasses.MISSING, None, "")
    return {name: field.default for name, field in fields.items() if field.default not in unset}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a file of settings, with an error that names it if that fails."""
    found = read_toml_file(path, "config")
    if found is None:
        raise UsageError("config", path, "there is no such file", "give the path of a TOML file")
    return found


def _typed(key: str, value: Any, part: type[Any], field: dataclasses.Field[Any]) -> Any:
    """Convert a text from the command line or a file to the parameter's type; see `sglr.core.spec.plain_value`."""
    try:
        return read_value(get_type_hints(part)[key], value)
    except ValidationError as error:
        remedy = f"it is: {field.metadata.get('help', field.type)}"
        raise UsageError(key, value, problem_of(error), remedy) from error


def _unknown_setting(
    key: str, value: Any, chosen: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]
) -> UsageError:
    known = SETTINGS.union([PRESET], *parts.values())
    near = get_close_matches(key, known, n=1)
    for kind in ("method", "merge_rule", "task"):
        owners = [name for name in PARTS[kind].names() if key in part_fields(kind, name)]
        if owners:
            problem = f"{kind} {chosen[kind]} has no such parameter"
            return UsageError(key, value, problem, f"leave it out, or choose {kind} {' or '.join(owners)}")
    remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
    return UsageError(key, value, "there is no such setting", remedy)


def _explained(error: ValidationError) -> UsageError:
    first = error.errors()[0]
    key = str(first["loc"][0])
    described = Experiment.model_fields[key].description if key in Experiment.model_fields else None
    return UsageError(key, first["input"], problem_of(error), f"it is: {described}" if described else "correct it")
