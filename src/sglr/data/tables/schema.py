"""The schema of a table: what its columns are and how they become inputs, the same for every owner of data.

Columns are matched by name. A number x becomes (x - mean) / std by the schema's mean and std, a category one input per
category that is 1 where it occurs. Hence the same rows give the same inputs, whatever the order of the columns and
whichever client has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sglr.core.errors import UsageError, listed
from sglr.core.task import Targets
from sglr.data.schema import DataSchema, Name, SchemaPart, refuse_repeated

SHOWN = 20  # names in a message
MOST_COMPARED = 1000  # names that are searched for the nearest one, to bound the time

Missing = Literal["error", "drop", "mean", "indicator"]
"""How to treat a missing value: raise an error; drop the row; replace it by the column's mean (for a category,
no input is 1); or do that and add an input that is 1 where the value is missing."""


LabelType = Literal["class", "finding", "number"]


class Column(SchemaPart):
    """A column that is a feature.

    Parameters
    ----------
    name
        As in the table's header.
    type
        ``"number"`` or ``"category"``.
    mean, std
        For a number: used to standardise it.
    categories
        For a category: all allowed values.
    missing
        How to treat a missing value.
    """

    name: Name
    type: Literal["number", "category"]
    mean: float = Field(default=0.0, allow_inf_nan=False)
    std: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    categories: tuple[Name, ...] = ()
    missing: Missing = "error"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the column's inputs."""
        own = (self.name,) if self.type == "number" else tuple(f"{self.name}={each}" for each in self.categories)
        return (*own, f"{self.name} is missing") if self.missing == "indicator" else own

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        if self.type == "category" and not self.categories:
            raise ValueError("a category column needs categories")
        if self.type == "number" and self.categories:
            raise ValueError("a number column has no categories")
        if self.type == "category" and {"mean", "std"} & self.model_fields_set:
            raise ValueError("a category column has no mean or std")
        refuse_repeated(self.categories, "category")
        return self


class Label(SchemaPart):
    """A column that holds targets.

    Parameters
    ----------
    name
        As in the table's header.
    type
        ``"class"``: one of the classes; ``"finding"``: whether something is present, beside other such columns; or
        ``"number"``: a measurement.
    classes
        The classes in their order: their numbers in training. Of a finding, the words for absent and present.
    edges
        If the column holds numbers to be divided into classes: the first class is below the first edge, the last
        one at the last edge or above; ascending, one fewer than classes. Empty if the column holds the classes.
    mean, std
        Of a number: what a task of regression learns is (x - mean) / std, at every site alike.
    missing
        How to treat a row without a label.
    """

    name: Name
    type: LabelType = "class"
    classes: tuple[Name, ...] = ()
    edges: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = ()
    mean: float = Field(default=0.0, allow_inf_nan=False)
    std: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    missing: Literal["error", "drop"] = "error"

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        if self.type == "number":
            if self.classes or self.edges:
                raise ValueError("a number has no classes and no edges")
            return self
        if {"mean", "std"} & self.model_fields_set:
            raise ValueError("only a number has a mean or std")
        if len(self.classes) < 2 or (self.type == "finding" and len(self.classes) > 2):
            few = "2 classes: the words for absent and present" if self.type == "finding" else "2 classes or more"
            raise ValueError(f"a {self.type} needs {few}")
        refuse_repeated(self.classes, "class")
        if self.edges and (len(self.edges) != len(self.classes) - 1 or list(self.edges) != sorted({*self.edges})):
            raise ValueError("edges must be ascending, one fewer than classes")
        return self


class Schema(DataSchema):
    """What a table's columns are and how they become inputs.

    Parameters
    ----------
    label
        The column that holds the targets.
    labels
        Instead of it, several such columns: all findings, or all numbers.
    columns
        The features, in the order of the inputs.
    leave_out
        Further columns that a table may have, which are ignored.
    """

    kind: Literal["table"] = "table"
    label: Label | None = None
    labels: tuple[Label, ...] = ()
    leave_out: tuple[Name, ...] = ()
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]

    @property
    def all_labels(self) -> tuple[Label, ...]:
        """The columns that hold targets, one or several."""
        return self.labels if self.label is None else (self.label,)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return (len(self.inputs),)

    @property
    def targets(self) -> Targets:
        """What targets are: class numbers, several findings, or measurements."""
        if self.label is not None and self.label.type == "class":
            return Targets.of_classes(self.label.classes)
        names = tuple(label.name for label in self.all_labels)
        if self.all_labels[0].type == "finding":
            return Targets(names, (len(names),), "int64", 2)
        units = tuple((label.mean, label.std) for label in self.all_labels)
        return Targets(names, (len(names),) if self.labels else (), "float32", units=units)

    def to_json(self) -> dict[str, Any]:
        """Return the schema as plain values for JSON and TOML, without what is usual."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"kind": self.kind}

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, one for each feature of an input vector."""
        return tuple(name for column in self.columns for name in column.inputs)

    def check_names(self, names: Sequence[str], source: str, aside: Sequence[str] = ()) -> None:
        """Check that a table has this schema's columns and no others.

        Parameters
        ----------
        names
            The table's columns, in any order.
        source
            The file or place that it comes from, for messages.
        aside
            Other known columns, such as groups.

        Raises
        ------
        UsageError
            If a column is missing, or not in the schema.
        """
        own = [*(label.name for label in self.all_labels), *(column.name for column in self.columns)]
        known = {*own, *self.leave_out, *aside}
        further = [name for name in names if name not in known]
        for name in own:
            if name not in names:
                problem = f"{source} lacks this column, which the schema requires"
                near = _nearest(name, further)
                remedy = f"rename {near!r} if it is meant" if near else f"add it; columns: {listed(names, SHOWN)}"
                raise UsageError("column", name, problem, remedy)
        if further:
            near = _nearest(further[0], own)
            hint = f"did you mean {near!r}? " if near else ""
            problem = f"{source} has this column, but the schema does not"
            raise UsageError("column", further[0], problem, f"{hint}leave it out with --leave-out {further[0]!r}")

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if (self.label is None) != bool(self.labels):
            raise ValueError("needs a label, or else several labels")
        if self.label is not None and self.label.type == "finding":
            raise ValueError("one finding alone is a label of type class, with two classes")
        types = {label.type for label in self.labels}
        if self.labels and (len(self.labels) < 2 or len(types) > 1 or "class" in types):
            raise ValueError("labels are two or more columns, all of type finding or all of type number")
        return self

    @model_validator(mode="after")
    def _each_column_once(self) -> Self:
        refuse_repeated(
            [*(label.name for label in self.all_labels), *(column.name for column in self.columns), *self.leave_out],
            "column",
        )
        return self


def refuse_unknown_values(found: Sequence[str], known: Sequence[str], what: str, column: str, source: str) -> None:
    """Raise UsageError, with the nearest known value, if a column has a value that is not in the schema.

    Parameters
    ----------
    found
        The distinct values of the column.
    known
        Those of the schema.
    what
        The kind of the values, ``"category"`` or ``"class"``.
    column
        The column's name.
    source
        The file or place that it comes from.
    """
    strangers = sorted(set(found) - set(known))
    if strangers:
        near = _nearest(strangers[0], known)
        hint = f"did you mean {near!r}? " if near else ""
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        problem = f"{source} has the {what} {strangers[0]!r}{more}, which is not in the schema"
        raise UsageError(
            "column", column, problem, f"{hint}rename it or remove its rows; known: {listed(known, SHOWN)}"
        )


def _nearest(name: str, names: Sequence[str]) -> str | None:
    # Names mostly differ in case, blanks and abbreviations.
    plain, short = {each.strip().lower(): each for each in names}, name.strip().lower()
    near = get_close_matches(short, list(plain)[:MOST_COMPARED], n=1, cutoff=0.4) or [
        each for each in plain if each.startswith(short)
    ]
    return plain[near[0]] if near else None
