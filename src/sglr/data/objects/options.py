"""Options for reading data given as objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from sglr.core.errors import UsageError, unknown
from sglr.data.stored import Store

if TYPE_CHECKING:
    from sglr.data.tables.dataset import Reading
    from sglr.data.tables.labels import LabelKind
    from sglr.data.tables.schema import Missing

OF_ALL = ("label_kind", "test_fraction", "split_seed", "sample_store")


@dataclass(frozen=True)
class Options:
    """Options for reading data given as objects; all but ``label_kind`` and the last three are for tables.

    Parameters
    ----------
    label
        The column of targets, or several as ``"a,b,c"``; empty for one with a usual name, such as ``label``.
    label_kind, classes, label_edges, columns, leave_out, category_columns, group, missing
        As in `sglr.data.tables.dataset.Reading` and the data set ``table``.
    group_columns
        Columns kept for partition natural, not used as features.
    test_fraction
        Fraction of the samples of each class and client held out for testing, if no test part is given.
    split_seed
        Seed for drawing the test samples.
    sample_store
        ``"disk"`` for inputs that are read from their files while training, ``"memory"``, or ``"auto"``, by their size.
    """

    label: str = ""
    label_kind: LabelKind = "auto"
    classes: Sequence[str] = ()
    label_edges: Sequence[float] = ()
    columns: Sequence[str] = ()
    leave_out: Sequence[str] = ()
    category_columns: Sequence[str] = ()
    group: str = ""
    group_columns: Sequence[str] = ()
    missing: Missing = "error"
    test_fraction: float = 0.2
    split_seed: int = 0
    sample_store: Store = "auto"

    @classmethod
    def names(cls) -> frozenset[str]:
        """Return the names of all options."""
        return frozenset(field.name for field in fields(cls))

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Make options from values by name; raise UsageError if a name is unknown."""
        for name in given:
            if name not in cls.names():
                raise unknown("option of the data set", name, cls.names())
        return cls(**{name: _typed(value, getattr(cls, name)) for name, value in given.items()})

    def refuse_tables_own(self) -> None:
        """Raise UsageError if an option is set that applies only to tables."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in OF_ALL and value != field.default:
                shown = value if isinstance(value, str) else ",".join(map(str, value))
                raise UsageError(
                    field.name,
                    shown,
                    "only for tables, and the data set is not a table",
                    "leave it out, or give a DataFrame",
                )

    def of_table(self, labels: Sequence[str], aside: Sequence[str]) -> Reading:
        """Return how to read a table with the targets in the columns ``labels`` and with columns kept ``aside``."""
        from sglr.data.tables.dataset import Reading

        if self.sample_store == "disk":
            problem = "a table is held in memory"
            raise UsageError("sample_store", self.sample_store, problem, "leave it out, or give arrays in files")
        same = ("label_kind", "classes", "label_edges", "columns", "leave_out", "category_columns", "group", "missing")
        told = {name: getattr(self, name) for name in (*same, "test_fraction", "split_seed")}
        return Reading(labels, groups=tuple(aside), **told)


def _typed(value: Any, default: Any) -> Any:
    """Return lists as tuples, and a single text as a tuple of one."""
    if not isinstance(default, tuple):
        return value
    return (value,) if isinstance(value, str) else tuple(value)
