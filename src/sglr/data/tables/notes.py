"""Notes for the user of a table: columns that look like ids, are constant, or have words for missing values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from sglr.data.tables.column_kinds import Held, holds_numbers, is_missing

ROWS = 20  # with fewer rows, a column of distinct numbers need not be an id
ID_NAME = re.compile(r"((?i:.*[\W_])?(?i:id|ids|uuid|guid|mrn)([\W_]?\d*)?)|.*[a-z](Id|ID)|(?i:id)_.*", re.DOTALL)
MISSING_WORDS = {"na", "n/a", "n.a.", "nan", "null", "none", "nil", "missing", "unknown", "?", "-", "--", ".", "#n/a"}


def notes_on(values: Mapping[str, Held]) -> list[str]:
    """Return what looks wrong about columns that are features, a sentence each.

    Parameters
    ----------
    values
        The columns by name.
    """
    return [note for name, column in values.items() for note in (*_id_like(name, column), *_constant(name, column))]


def missing_words(name: str, words: Sequence[str]) -> list[str]:
    """Return a note if classes or categories include a word that usually means a missing value."""
    found = [word for word in words if word.lower() in MISSING_WORDS]
    listed = ", ".join(map(repr, found))
    return [f"{listed} in the column {name!r} is read as a word; give --na {','.join(found)} if it means missing"][
        : len(found)
    ]


def _id_like(name: str, values: Held) -> list[str]:
    known = values[~is_missing(values)]
    whole = holds_numbers(known) and bool((known % 1 == 0).all())
    if whole and len(np.unique(known)) == len(known) >= ROWS:
        return [
            f"the column {name!r} has a different whole number in each row; give --leave-out {name!r} if it is an id"
        ]
    if ID_NAME.fullmatch(name) and len(set(known.tolist())) > 2:
        remedy = f"give --leave-out {name!r}, or --group {name!r} to keep its rows on one side of a split"
        return [f"the column {name!r} has a name like an id but is used as a feature; {remedy}"]
    return []


def _constant(name: str, values: Held) -> list[str]:
    known = values[~is_missing(values)]
    same = len(known) == len(values) and len(known) > 0 and bool(np.all(known == known[0]))
    return [f"the column {name!r} has the same value in all rows and carries no information"] if same else []
