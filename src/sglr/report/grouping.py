"""Runs from anywhere as the rows of a comparison: equal settings with different seeds make one row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from sglr.report.comparison_table import ComparisonRow
from sglr.runs.config import named
from sglr.runs.folder import Run

IRRELEVANT = named(decides="nothing") | {"seed"}
"""Settings in which the runs of one row may differ."""

MOST_TOLD = 2
"""Settings that a label tells in any case; of more, only as many as are needed to tell all rows apart."""


@dataclass
class _Group:
    """Runs of equal settings, no two of one seed."""

    settings: Mapping[str, Any]
    runs: list[Run]

    @property
    def deciding(self) -> dict[str, Any]:
        return {key: value for key, value in self.settings.items() if key not in IRRELEVANT}

    @property
    def name(self) -> str:
        """The name that all runs were given, if they were."""
        names = {str(run.settings.get("name", "")) for run in self.runs}
        return names.pop() if len(names) == 1 else ""


def group_runs(runs: Sequence[Run]) -> list[ComparisonRow]:
    """Fold runs into rows, in the order in which their settings first occur.

    A row has the name that its runs were given, else that of the method and the settings that tell it from other rows.
    A second run of the same settings and seed begins a row of its own, which its folder tells apart.
    """
    groups = _grouped(list({run.path.resolve(): run for run in runs}.values()))
    labels = _labels(groups)
    return [
        ComparisonRow(
            label if labels.count(label) == 1 else f"{label} [{group.runs[0].path.name or group.runs[0].path}]",
            str(group.settings.get("method", "?")),
            tuple(run.path for run in group.runs),
        )
        for label, group in zip(labels, groups, strict=True)
    ]


def _grouped(runs: Sequence[Run]) -> list[_Group]:
    groups: dict[tuple[str, int], _Group] = {}
    seen: dict[tuple[str, Any], int] = {}
    for run in runs:
        group = _Group(run.settings, [run])
        key = json.dumps(group.deciding, sort_keys=True, default=str)
        seed = run.settings.get("seed")
        repeat = seen[key, seed] = seen.get((key, seed), -1) + 1
        if (key, repeat) in groups:
            groups[key, repeat].runs.append(run)
        else:
            groups[key, repeat] = group
    return list(groups.values())


def _labels(groups: Sequence[_Group]) -> list[str]:
    """Name each group's method, with what tells it apart; of many settings, as few as are enough."""
    told = [_telling(group, groups) for group in groups]
    if max(map(len, told), default=0) > MOST_TOLD:
        keys = list(dict.fromkeys(key for own in told for key in own))
        choices = (few for size in range(MOST_TOLD + 1) for few in combinations(keys, size))
        enough = next((few for few in choices if _tell(told, groups, few)), keys)
        told = [{key: value for key, value in own.items() if key in enough} for own in told]
    return [group.name or _label(group, own) for group, own in zip(groups, told, strict=True)]


def _tell(told: Sequence[Mapping[str, Any]], groups: Sequence[_Group], keys: Sequence[str]) -> bool:
    """Tell whether no two groups have the same method and the same values under these keys."""
    seen = {
        (str(group.deciding.get("method")), *(repr(own.get(key)) for key in keys))
        for own, group in zip(told, groups, strict=True)
    }
    return len(seen) == len(groups)


def _label(group: _Group, told: Mapping[str, Any]) -> str:
    method, shown = group.deciding.get("method", "?"), ", ".join(f"{key}={value}" for key, value in told.items())
    return f"{method} ({shown})" if shown else str(method)


def _telling(group: _Group, groups: Sequence[_Group]) -> dict[str, Any]:
    """Return the settings that tell a group apart.

    A setting that every row has does so if it differs between any two; one that is a method's own, or unset elsewhere,
    only if it differs between rows of this method.
    """
    own, alike = group.deciding, [one.deciding for one in groups]
    method = own.pop("method", None)
    same_method = [settings for settings in alike if settings.get("method") == method]

    def tells(key: str) -> bool:
        against = alike if all(key in settings for settings in alike) else same_method
        return any(settings.get(key) != own[key] for settings in against)

    return {key: value for key, value in own.items() if tells(key)}
