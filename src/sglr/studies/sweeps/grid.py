"""A grid as a TOML file holds it: shared settings, ``[grid]`` with lists, ``[[case]]`` for single configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NoReturn, Self

import tomli_w

from sglr.core.errors import UsageError
from sglr.runs.config import SETTINGS, Experiment, read_toml
from sglr.runs.presets import expanded
from sglr.studies.method_specs import Variant, parse_methods, spec_of
from sglr.studies.sweeps.configuration import METHOD, SEED, Configuration, described, told_apart

GRID, CASE = "grid", "case"
EXAMPLE = "write a table such as [grid] with lr = [0.001, 0.01] and seed = [0, 1, 2]"


@dataclass(frozen=True)
class Grid:
    """What is to be trained, as it was written.

    Parameters
    ----------
    source
        Where it was written, for messages.
    shared
        Settings of all configurations.
    axes
        Lists of values; every combination of them is a configuration, and seeds are repetitions.
    cases
        Single configurations beside these: what each sets.
    """

    source: str
    shared: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]
    cases: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, grid: str | Path | Mapping[str, Any], overrides: Mapping[str, Any]) -> Self:
        """Read a grid from a TOML file, or take it as the mapping that such a file holds.

        ``overrides`` win over the shared settings.

        Raises
        ------
        UsageError
            If it is no grid; the message names the file and the key.
        """
        source = "grid" if isinstance(grid, Mapping) else str(grid)
        content = dict(grid) if isinstance(grid, Mapping) else read_toml(Path(grid))
        axes = _table(source, content.pop(GRID, {}))
        cases = _tables(source, content.pop(CASE, []))
        shared = _plain(content)
        if not axes and not cases:
            raise UsageError(source, GRID, "has neither [grid] nor [[case]]", EXAMPLE)
        for name in shared.keys() & axes.keys():
            _refuse(source, f"[{GRID}] {name}", axes[name], "is also set above the table", "leave out one of the two")
        given = _plain(overrides)
        unset = {key for key, value in given.items() if value is None and key in SETTINGS}
        together = {key: value for key, value in {**shared, **expanded(given)}.items() if key not in unset}
        found = cls(source, together, _axes(source, axes), cases)
        found._check_overrides(given)
        return found

    def to_toml(self) -> str:
        """Return it as a file holds it, overrides among the shared settings."""
        tables = {GRID: dict(self.axes), CASE: [dict(case) for case in self.cases]}
        content = {**self.shared, **{name: table for name, table in tables.items() if table}}
        return tomli_w.dumps(_writable(content))

    def configurations(self, limit: int) -> list[Configuration]:
        """Return all configurations in the file's order, each checked as far as that goes without data.

        Raises
        ------
        UsageError
            If a setting is wrong, a method lacks one, two configurations are the same training, or there are more than
            ``limit`` runs.
        """
        self._check_number(limit)
        crossed = [(own, self._described(f"[{GRID}]", own, self._seeds({}))) for own in self._combinations()]
        single = [
            (case, self._described(f"[[{CASE}]] {number},", case, self._seeds(case)))
            for number, case in enumerate(self.cases, 1)
        ]
        return told_apart([*crossed, *single])

    @property
    def _crossed(self) -> dict[str, Sequence[Any]]:
        """The axes whose combinations are configurations."""
        return {key: values for key, values in self.axes.items() if key != SEED}

    @property
    def _crosses(self) -> bool:
        """Whether there are configurations beside the cases; seeds alone repeat the shared settings."""
        return bool(self._crossed) or not self.cases

    def _combinations(self) -> list[dict[str, Any]]:
        axes = self._crossed
        every = product(*axes.values()) if self._crosses else ()
        return [dict(zip(axes, values, strict=True)) for values in every]

    def _seeds(self, case: Mapping[str, Any]) -> list[Any]:
        """Return the seeds of a case, or of the grid."""
        seeds = case.get(SEED, self.axes.get(SEED, self.shared.get(SEED, Experiment.model_fields[SEED].default)))
        listed = SEED in case or SEED in self.axes
        return list(seeds) if listed and isinstance(seeds, list | tuple) else [seeds]

    def _described(self, where: str, own: Mapping[str, Any], seeds: Sequence[Any]) -> tuple[Experiment, ...]:
        """Return a configuration's experiments; an error names the file and the setting's place in it."""
        self._check_method(where, own)
        settings = {key: value for key, value in {**self.shared, **own}.items() if key != SEED}
        try:
            return described(settings, seeds)
        except UsageError as error:
            place = f"{where} {error.field}" if error.field in (*own, SEED) else error.field
            remedy = error.remedy
            if error.problem.endswith("has no such parameter"):
                text = f"sglr:{error.field}={error.value}"
                remedy = f'write it with the methods that have it, such as method = ["psl", "{text}"]'
            elif isinstance(self.shared.get(error.field), list):
                remedy = f"write lists of values under [{GRID}]"
            _refuse(self.source, place, error.value, error.problem, remedy)

    def _check_method(self, where: str, own: Mapping[str, Any]) -> None:
        """Refuse a parameter that is written with the method and varied as well."""
        try:
            given = Variant.of(str(own.get(METHOD, self.shared.get(METHOD, "")))).given if METHOD in own else {}
        except UsageError as error:
            _refuse(self.source, f"{where} {METHOD}", own[METHOD], error.problem, error.remedy)
        for name in given.keys() & own.keys():
            problem = f"is also given with the method ({own[METHOD]})"
            _refuse(self.source, f"{where} {name}", own[name], problem, "leave out one of the two")

    def _check_overrides(self, overrides: Mapping[str, Any]) -> None:
        for name, value in overrides.items():
            varied = name in self.axes or any(name in case for case in self.cases)
            if varied:
                problem = f"{self.source} varies it"
                raise UsageError(name, value, problem, "change it there; flags set what all configurations share")

    def _check_number(self, limit: int) -> None:
        if limit < 1:
            raise UsageError("limit", limit, "is not positive", "give 1 or more")
        of_grid = prod(len(values) for values in self.axes.values()) if self._crosses else 0
        runs = of_grid + sum(len(self._seeds(case)) for case in self.cases)
        if runs > limit:
            sizes = " × ".join(f"{len(values)} {name}" for name, values in self.axes.items() if len(values) > 1)
            problem = f"makes {runs:,} runs ({sizes}), and the limit is {limit:,}"
            raise UsageError(self.source, f"[{GRID}]", problem, f"shorten its lists, or give --limit {runs}")


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key).replace("-", "_"): value for key, value in settings.items()}


def _table(source: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        _refuse(source, GRID, value, "is not a table", EXAMPLE)
    return _plain(value)


def _tables(source: str, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, Mapping) for one in value):
        _refuse(source, CASE, value, "is not a list of tables", f"write each case under a line [[{CASE}]]")
    cases = [_plain(one) for one in value]
    for number, case in enumerate(cases, 1):
        where = f"[[{CASE}]] {number}"
        if not case:
            _refuse(source, where, "", "is empty", "set what tells this configuration from the shared settings")
        for key, given in case.items():
            if key == SEED and isinstance(given, list | tuple):
                _check_values(source, f"{where}, {key}", given)
            elif isinstance(given, list | tuple) and key in Experiment.model_fields:
                problem = "is a list, and a case is one configuration"
                _refuse(source, f"{where}, {key}", given, problem, f"give one value, or write it under [{GRID}]")
    return cases


def _axes(source: str, axes: Mapping[str, Any]) -> dict[str, list[Any]]:
    found = {}
    for key, values in axes.items():
        where = f"[{GRID}] {key}"
        if not isinstance(values, list | tuple):
            remedy = "write it above the table, or in brackets as a list of values"
            _refuse(source, where, values, "is not a list", remedy)
        if key == METHOD and values:
            values = _methods(source, where, values)
        _check_values(source, where, values)
        found[key] = list(values)
    return found


def _methods(source: str, where: str, values: Sequence[Any]) -> list[str]:
    """Return the methods of a list as texts; a table in it is a method with its parameters and settings."""
    found = []
    for value in values:
        try:
            found.append(spec_of(value) if isinstance(value, Mapping) else str(value))
        except UsageError as error:
            _refuse(source, f"{where} {error.field}", error.value, error.problem, error.remedy)
    return [str(method) for method in parse_methods(found)]


def _check_values(source: str, where: str, values: Sequence[Any]) -> None:
    if not values:
        _refuse(source, where, "[]", "is empty", "give one or more values, or leave it out")
    for value in values:
        if list(values).count(value) > 1:
            _refuse(source, where, value, "is listed twice", "name each value once")


def _writable(value: Any) -> Any:
    """Return what TOML can hold: paths and None as text."""
    if isinstance(value, Mapping):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(item) for item in value]
    return "none" if value is None else str(value) if isinstance(value, Path) else value


def _refuse(source: str, where: str, value: object, problem: str, remedy: str) -> NoReturn:
    raise UsageError(f"{source}: {where}", value, problem, remedy)
