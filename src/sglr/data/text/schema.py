"""How texts become sequences of tokens."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sglr.core.task import Targets
from sglr.data.schema import DataSchema, Name, refuse_repeated

Count = Annotated[int, Field(ge=0, le=1 << 24)]


class TextSchema(DataSchema):
    """How texts become sequences of tokens.

    Parameters
    ----------
    classes
        The classes in their order; empty if each token's target is the next one.
    length
        Tokens of a sequence.
    tokenizer
        ``"characters"``, ``"bytes"``, or ``"file"`` for the tokenizer in a file, which every site needs.
    vocabulary
        Of characters: their Unicode numbers, ascending. They are no text, because a line's end can't be printed.
    sha256
        Of the file ``tokenizer.json``.
    size
        The number of tokens that there are.
    padding
        The token that fills a sequence up.
    """

    kind: Literal["text"] = "text"
    classes: tuple[Name, ...] = ()
    length: Annotated[int, Field(ge=2, le=1 << 20)] = 128
    tokenizer: Literal["characters", "bytes", "file"] = "characters"
    vocabulary: tuple[Annotated[int, Field(ge=0, le=0x10FFFF)], ...] = ()
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    size: Annotated[int, Field(ge=2, le=1 << 24)]
    padding: Count = 0

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return (self.length,)

    @property
    def input_type(self) -> Literal["float32", "int64"]:
        """The type of inputs."""
        return "int64"

    @property
    def targets(self) -> Targets:
        """What targets are: class numbers, or the next token at every position."""
        if self.classes:
            return Targets.of_classes(self.classes)
        return Targets(shape=(self.length,), classes=self.size)

    @model_validator(mode="after")
    def _fits_its_tokenizer(self) -> Self:
        refuse_repeated(self.classes, "class")
        if len(self.classes) == 1:
            raise ValueError("training needs two or more classes, or none for the next token")
        if list(self.vocabulary) != sorted({*self.vocabulary}):
            raise ValueError("the vocabulary is not ascending")
        if self.padding >= self.size:
            raise ValueError(f"the padding is outside the {self.size} tokens")
        return self
