"""Several inputs per sample, packed in one row: the names, shapes and types by which rows are taken apart again.

Batches, partitions, engines and caches handle one tensor of inputs. Where a sample has several, such as a picture and a
row of a table, they are one row ``[L]``, one input after another: of numbers that float32 holds exactly, or of whole
numbers where all inputs are. A module before the model takes rows apart (`sglr.splitting.several_inputs`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Self

import torch
from torch import Tensor

from sglr.core.errors import UsageError

KEY = "inputs"
"""Where a data set's encoding has the layout."""

MOST_INPUTS = 1000
EXACT = 1 << 24
"""Whole numbers up to this are exact in single precision."""

TYPES = ("float32", "int64", "bool")


@dataclass(frozen=True)
class InputField:
    """One input.

    Parameters
    ----------
    name
        Its name; its number, from 0, where inputs have none.
    shape
        Of one sample; empty for a single number.
    dtype
        ``"float32"``, ``"int64"`` or ``"bool"``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Numbers of one sample."""
        return prod(self.shape)

    def __str__(self) -> str:
        """Return its name, type and shape."""
        return f"{self.name} {self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class InputLayout:
    """The inputs of a sample, in their order in a row.

    Parameters
    ----------
    fields
        The inputs.
    """

    fields: tuple[InputField, ...]

    @classmethod
    def of(cls, encoding: Mapping[str, Any], width: tuple[int, ...] | None = None) -> Self | None:
        """Return the layout that a data set's encoding has; None where samples have one input.

        Parameters
        ----------
        encoding
            As of `sglr.core.data.Dataset`; it may be a stranger's.
        width
            Shape of one row, if it is known.

        Raises
        ------
        UsageError
            If it is no layout, or that of other rows.
        """
        found = encoding.get(KEY)
        if found is None:
            return None
        try:
            layout = cls(tuple(_field(each) for each in found))
        except (TypeError, KeyError, ValueError) as error:
            problem = "is not a list of names, shapes and types"
            raise UsageError("inputs", "of the data", problem, "restore data.json, or ask the operator") from error
        names = layout.names
        if not names or len(names) > MOST_INPUTS or len(set(names)) < len(names):
            raise UsageError("inputs", ", ".join(names)[:200], "each input needs a name of its own", "name each once")
        if width is not None and width != (layout.size,):
            problem = f"rows have shape {list(width)}, and these inputs fill {layout.size} numbers"
            raise UsageError("inputs", str(layout), problem, "give the data and the layout of one run")
        return layout

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(field.name for field in self.fields)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each input of one sample, by name: what a function that builds a model is given."""
        return {field.name: field.shape for field in self.fields}

    @property
    def named(self) -> bool:
        """Whether inputs were given by name, and not in an order alone."""
        return self.names != tuple(map(str, range(len(self.fields))))

    @property
    def size(self) -> int:
        """Numbers of a row, L."""
        return sum(field.size for field in self.fields)

    @property
    def whole(self) -> bool:
        """Whether rows are whole numbers, because all inputs are."""
        return all(field.dtype != "float32" for field in self.fields)

    @property
    def has_tokens(self) -> bool:
        """Whether an input is whole numbers, which have no distances and no gradients."""
        return any(field.dtype == "int64" for field in self.fields)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The names of the inputs whose numbers have distances: all but tokens."""
        return tuple(field.name for field in self.fields if field.dtype != "int64")

    @property
    def picture(self) -> str | None:
        """The name of the input that is a picture ``[channels, height, width]``; None for none or several."""
        found = [field.name for field in self.fields if field.dtype == "float32" and len(field.shape) == 3]
        return found[0] if len(found) == 1 else None

    def described(self) -> list[dict[str, Any]]:
        """Return it as JSON can hold it, for a data set's encoding; `of` reads it."""
        return [{"name": field.name, "shape": list(field.shape), "dtype": field.dtype} for field in self.fields]

    def pack(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return rows ``[b, L]`` of the inputs ``[b, ...]`` by name.

        Raises
        ------
        UsageError
            If a whole number beside fractions is too large to be held exactly.
        """
        for field in self.fields:
            if not self.whole and field.dtype == "int64":
                _refuse_large(field.name, values[field.name])
        return self.joined([values[name] for name in self.names])

    def joined(self, values: Sequence[Tensor]) -> Tensor:
        """Return rows ``[b, L]`` of the inputs ``[b, ...]`` in their order, whose values are not looked at."""
        kind = torch.int64 if self.whole else torch.get_default_dtype()
        pairs = zip(self.fields, values, strict=True)
        return torch.cat([each.reshape(each.shape[0], field.size).to(kind) for field, each in pairs], 1)

    def unpack(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the inputs ``[b, ...]`` of rows ``[b, L]``, by name."""
        found = {}
        for field, first, end in self.places():
            # Not rows[:, first:end], which in a traced graph is an item picked: the row would cross, and not be taken.
            # A copy of its own is multiplied as the input itself is, to the last bit.
            own = torch.narrow(rows, 1, first, end - first).contiguous()
            found[field.name] = _of_type(own.reshape(-1, *field.shape), field.dtype)
        return found

    def places(self) -> Iterator[tuple[InputField, int, int]]:
        """Yield each input with where its numbers begin and end in a row."""
        first = 0
        for field in self.fields:
            yield field, first, first + field.size
            first += field.size

    def of_quantities(self, rows: Tensor) -> Tensor:
        """Return what rows ``[b, L]`` hold of inputs that are no tokens, ``[b, Q]``; Q is 0 where all are tokens."""
        names = self.quantities
        return torch.cat(
            [rows[:, :0], *(rows[:, first:end] for field, first, end in self.places() if field.name in names)], 1
        )

    def varied(self, rows: Tensor) -> Tensor:
        """Return other valid rows ``[b, L]``: the numbers of each input in the opposite order."""
        return torch.cat([rows[:, first:end].flip(-1) for _, first, end in self.places()], 1)

    def drawn(self, count: int, seed: int, tokens: int = 2) -> Tensor:
        """Draw rows ``[count, L]``: fractions from a normal distribution, whole numbers below ``tokens``."""
        rng = torch.Generator().manual_seed(seed)
        kind = torch.int64 if self.whole else torch.get_default_dtype()

        def of(field: InputField) -> Tensor:
            shape = (count, field.size)
            if field.dtype == "float32":
                return torch.randn(shape, generator=rng)
            return torch.randint(0, 2 if field.dtype == "bool" else tokens, shape, generator=rng)

        return torch.cat([of(field).to(kind) for field in self.fields], 1)

    def __str__(self) -> str:
        """Return all inputs in one line."""
        return ", ".join(map(str, self.fields))


def read_layout(text: str) -> InputLayout:
    """Read the inputs of a sample, such as ``"image:1,8,8+age:+ids:32:int64"``; float32 where no type is given.

    Raises
    ------
    UsageError
        If it is malformed, or names an input twice.
    """
    found = []
    for word in text.split("+"):
        name, _, rest = word.strip().partition(":")
        shape, _, dtype = rest.partition(":")
        lengths = [each.strip() for each in shape.split(",") if each.strip()]
        if not name or not all(length.isdigit() for length in lengths) or dtype not in ("", *TYPES):
            problem, remedy = "is not a name with a shape and a type", "write image:1,8,8 or ids:32:int64; types: "
            raise UsageError("input_layout", word, problem, remedy + ", ".join(TYPES))
        found.append({"name": name, "shape": [*map(int, lengths)], "dtype": dtype or "float32"})
    layout = InputLayout.of({KEY: sorted(found, key=lambda each: str(each["name"]))})
    assert layout is not None, "given"
    return layout


def layout_alone(encoding: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an encoding has of a layout: what is needed to build a network without its data."""
    return {key: value for key, value in encoding.items() if key == KEY}


def _field(found: Any) -> InputField:
    name, shape, dtype = found["name"], tuple(found["shape"]), found["dtype"]
    if not (isinstance(name, str) and name and name.isprintable()) or dtype not in TYPES:
        raise ValueError("field")
    if not all(type(length) is int and length > 0 for length in shape):
        raise ValueError("shape")
    return InputField(name, shape, dtype)


def _of_type(values: Tensor, dtype: str) -> Tensor:
    if dtype == "float32":
        return values
    return values != 0 if dtype == "bool" else values.to(torch.int64)


def _refuse_large(name: str, values: Tensor) -> None:
    rows = (values.abs() > EXACT).reshape(len(values), -1).any(1).nonzero()[:, 0]
    if len(rows):
        row = int(rows[0])
        largest = int(values[row].abs().max())
        problem = f"row {row} has a whole number beyond {EXACT}, which single precision does not hold"
        raise UsageError(f"inputs[{name!r}]", largest, problem, "count from 0, or give fractions as floats")
