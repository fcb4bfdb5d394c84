"""What data sets have in common that a schema describes: texts, recordings, series, volumes, masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.data.schema import DataSchema, read_schema

Rows = NDArray[np.int64]
S = TypeVar("S", bound=DataSchema)


@dataclass(frozen=True)
class Described:
    """A data set whose parameters with the fact ``by_run`` have the names of the keys of its schema."""

    path: str = field(default="", metadata={"help": "the folder or file", "by_run": True})
    schema: str | dict[str, Any] = field(
        default="",
        metadata={
            "help": "a TOML file (sglr schema) that says how samples are read; default: by these options",
            "by_run": True,
            "clients": "hidden",
            "since": "0.2.0",
        },
    )
    classes: tuple[str, ...] = field(
        default=(), metadata={"help": "the classes in order; default: all that occur, sorted", "by_run": True}
    )
    group: str = field(
        default="",
        metadata={"help": "samples of one group, such as a patient, stay on one side of any split", "since": "0.2.0"},
    )
    test_fraction: float = field(
        default=0.2, metadata={"help": "fraction of the samples held out for testing if there is no test part"}
    )
    split_seed: int = field(default=0, metadata={"help": "seed for drawing the test samples"})

    schema_type: ClassVar[type[DataSchema]]

    def agreed(self, kind: type[S]) -> S | None:
        """Return the schema that is given; None if none is.

        Raises
        ------
        UsageError
            If it can't be read, or a parameter says otherwise.
        """
        if not self.schema:
            return None
        schema = read_schema(self.schema, kind)
        for each in dataclasses.fields(self):
            decided = each.name in kind.model_fields and each.metadata.get("by_run")
            given = getattr(self, each.name)
            if decided and given not in (each.default, getattr(schema, each.name)):
                shown = ",".join(map(str, given)) if isinstance(given, tuple) else given
                raise UsageError(each.name, shown, "the schema decides this", "leave it out, or edit the schema")
        return schema

    def stated(self, kind: type[S], **found: Any) -> S:
        """Return the schema that the parameters state, with what was found in the data.

        Raises
        ------
        UsageError
            If a parameter is invalid.
        """
        own = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        said = {name: value for name, value in own.items() if name in kind.model_fields}
        try:
            return kind.from_json(said | found, "the options")
        except UsageError as error:
            if error.field != "schema":
                raise
            # Of several options together; there is no schema's file to correct.
            name = f"{kind.model_fields['kind'].default}:{self.path}"
            raise UsageError("dataset", name, error.problem, "correct the options") from error

    def dataset(
        self,
        schema: DataSchema,
        samples: tuple[Tensor, Tensor],
        rows: tuple[Rows, Rows | None, Rows],
        columns: Mapping[str, NDArray[np.object_]],
        notes: Sequence[str] = (),
        group: str | None = None,
    ) -> Dataset:
        """Return the data set.

        Parameters
        ----------
        schema
            What its samples were read by.
        samples
            Inputs ``[N, ...]`` and targets ``[N, ...]``.
        rows
            Rows for training, validation (or None) and testing.
        columns, notes, group
            As in `sglr.core.data.Samples` and `sglr.core.data.Dataset`; by default the parameter ``group``.
        """
        inputs, targets = samples

        def part(own: Rows) -> Samples:
            index = torch.from_numpy(own)
            return Samples(inputs[index], targets[index], {name: values[own] for name, values in columns.items()})

        train, apart, test = rows
        return Dataset(
            f"{schema.kind}:{self.path}",
            part(train),
            part(test),
            validation=None if apart is None else part(apart),
            encoding=schema.to_json(),
            group=group or self.group or None,
            notes=tuple(notes),
            targets=schema.targets,
        )
