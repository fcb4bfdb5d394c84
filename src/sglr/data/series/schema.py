"""How time series become inputs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sglr.core.task import Targets
from sglr.data.schema import DataSchema, Name, SchemaPart, refuse_repeated

Number = Annotated[float, Field(allow_inf_nan=False)]


class Channel(SchemaPart):
    """A channel: x becomes (x - mean) / std.

    Parameters
    ----------
    name
        Of the column.
    mean, std
        Of the training part.
    """

    name: Name
    mean: Number = 0.0
    std: Annotated[Number, Field(gt=0)] = 1.0


class SeriesSchema(DataSchema):
    """How time series become inputs.

    Parameters
    ----------
    classes
        The classes in their order.
    length
        Steps of an input.
    missing
        What to do with a missing value; ``"mean"`` is the channel's.
    channels
        The channels in the order of the inputs.
    """

    kind: Literal["series"] = "series"
    classes: Annotated[tuple[Name, ...], Field(min_length=2)]
    length: Annotated[int, Field(ge=1, le=1 << 24)]
    missing: Literal["error", "drop", "mean"] = "error"
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return (len(self.channels), self.length)

    @property
    def targets(self) -> Targets:
        """What targets are: class numbers."""
        return Targets.of_classes(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the channels."""
        return tuple(channel.name for channel in self.channels)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        refuse_repeated(self.classes, "class")
        refuse_repeated(self.names, "channel")
        return self
