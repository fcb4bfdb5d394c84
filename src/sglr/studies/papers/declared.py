"""Declared artefacts: a paper's tables and figures, read from its folder of TOML files.

An artefact is a grid. Each of its places, with each seed, is one experiment: the settings that all share at a scale,
then those of the artefact, row and column, each over the ones before. Equal experiments of several artefacts are
trained once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sglr.core.errors import UsageError, unknown
from sglr.runs.config import Experiment

PAPER = Path(__file__).parent / "sglr"
SETTINGS = "settings"
SCALES = ("full", "small", "smoke")
ONE_CLIENT = {"method": "psl"}
"""With one client every split method takes the same steps (a law that the tests hold): it is trained once."""


@dataclass(frozen=True)
class PaperTrial:
    """One place of an artefact's grid with one seed.

    Parameters
    ----------
    row, column
        Its labels.
    seed
        The seed.
    experiment
        What is trained.
    """

    row: str
    column: str
    seed: int
    experiment: Experiment


@dataclass(frozen=True)
class DeclaredColumn:
    """A column of a grid: what it sets, and the paper's figure for every row that it has one for."""

    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and how it is judged.

    Parameters
    ----------
    claim
        In words.
    test
        A name of `sglr.studies.papers.claims.TESTS`.
    more, less
        Which places' figures should exceed which others': ``rows`` and ``columns``, paired one by one.
    margin
        By how much, in the figure's unit.
    target
        A figure that ``more`` is compared with, instead of ``less``.
    measure
        Which figure, where a run has several.
    from_clients
        The least number of clients at which the paper shows it; with fewer the claim is undecided.
    """

    claim: str
    test: str
    more: Mapping[str, Sequence[str]]
    less: Mapping[str, Sequence[str]] = field(default_factory=dict)
    margin: float = 0.0
    target: float | None = None
    measure: str = "accuracy"
    from_clients: int = 1


@dataclass(frozen=True)
class Artefact:
    """One table or figure.

    Parameters
    ----------
    name
        Its file's name, such as ``"table1"``.
    title, kind, columns, claims
        As declared; ``kind`` is a file of `sglr.studies.papers.kinds`.
    rows
        Labels of the rows at the chosen scale, with what each sets.
    scale, seeds
        The scale, and the seeds of every place of the grid.
    settings
        What all trials share.
    options
        Whatever else the declaration says, for its kind.
    """

    name: str
    title: str
    kind: str
    scale: str
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, Any]]
    columns: tuple[DeclaredColumn, ...]
    claims: tuple[Claim, ...]
    options: Mapping[str, Any]

    @cached_property
    def trials(self) -> list[PaperTrial]:
        """Every place of the grid with every seed, row by row; none for an artefact that trains nothing."""
        return [
            PaperTrial(row, column.label, seed, self._experiment({**shared, **column.settings}, seed))
            for row, shared in self.rows.items()
            for column in self.columns
            for seed in self.seeds
            if self.options.get("trains", True)
        ]

    def _experiment(self, own: Mapping[str, Any], seed: int) -> Experiment:
        settings = {**self.settings, **own}
        if settings.get("clients") == 1 and settings["method"] in ("slr", "sgl", "sglr"):
            settings = {
                key: value for key, value in settings.items() if key not in ("alpha", "phi", "phase", "average")
            }
            settings |= ONE_CLIENT
        return Experiment.from_flat({**settings, "seed": seed})


def artefacts() -> tuple[str, ...]:
    """Return the names of all declared artefacts, tables first."""
    names = {path.stem for path in PAPER.glob("*.toml")} - {SETTINGS}
    return tuple(sorted(names, key=lambda name: (not name.startswith("table"), name)))


def read_artefact(
    name: str, scale: str, *, seeds: int | None = None, overrides: Mapping[str, Any] | None = None
) -> Artefact:
    """Read a declaration at a scale.

    Parameters
    ----------
    name
        A name of `artefacts`.
    scale
        A name of `SCALES`.
    seeds
        How many seeds; None is the scale's own number.
    overrides
        Settings over all others, such as the device.

    Raises
    ------
    UsageError
        If there is no such artefact or scale, or a number of seeds makes no sense.
    """
    if name not in artefacts():
        raise unknown("artefact", name, (*artefacts(), "all"))
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    shared = _read(SETTINGS)[scale]
    declared = _read(name)
    own = declared.get("settings", {})
    count = shared["seeds"] if seeds is None else seeds
    if count < 1:
        raise UsageError("seeds", count, "is not positive", "give 1 or more")
    settings = {**shared["settings"], **own.get("all", {}), **own.get(scale, {}), **(overrides or {})}
    return Artefact(
        name=name,
        title=declared["title"],
        kind=declared["kind"],
        scale=scale,
        seeds=tuple(range(count)),
        settings=settings,
        rows=_rows(declared, scale),
        columns=tuple(DeclaredColumn(**column) for column in declared.get("columns", ())),
        claims=tuple(Claim(**claim) for claim in declared.get("claims", ())),
        options={"row_title": declared.get("row_title", ""), **declared.get("options", {})},
    )


def _rows(declared: Mapping[str, Any], scale: str) -> dict[str, Mapping[str, Any]]:
    """Return rows as declared one by one, or as values of one setting at this scale."""
    if "row_setting" in declared:
        return {str(value): {declared["row_setting"]: value} for value in declared["scales"][scale]}
    return {row["label"]: row.get("settings", {}) for row in declared.get("rows", ())}


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((PAPER / f"{name}.toml").read_text(encoding="utf-8"))
