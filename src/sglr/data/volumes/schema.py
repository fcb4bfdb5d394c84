"""How volumes become inputs and targets."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sglr.core.task import Targets
from sglr.data.schema import DataSchema, Name, refuse_repeated

Size = Annotated[int, Field(ge=1, le=1 << 14)]


class VolumesSchema(DataSchema):
    """How volumes become inputs and targets.

    Parameters
    ----------
    classes
        The classes in their order.
    segmentation
        Whether each voxel has a class, or each volume.
    volume_size
        Voxels from left to right, from back to front, and from bottom to top.
    channels
        Values of a voxel, such as MR sequences.
    spacing
        Millimetres from voxel to voxel in these directions, to which volumes are resampled; empty to fit the whole
        volume into the size instead.
    window
        The intensities that become -1 and 1; empty for mean 0 and variance 1 of each volume.
    """

    kind: Literal["volumes"] = "volumes"
    classes: Annotated[tuple[Name, ...], Field(min_length=2, max_length=255)]
    segmentation: bool
    volume_size: tuple[Size, Size, Size]
    channels: Annotated[int, Field(ge=1, le=1024)] = 1
    spacing: tuple[Annotated[float, Field(gt=0, le=1000)], ...] = ()
    window: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return (self.channels, *self.volume_size)

    @property
    def targets(self) -> Targets:
        """What targets are: class numbers, of every voxel or of every volume."""
        if not self.segmentation:
            return Targets.of_classes(self.classes)
        return Targets(self.classes, self.volume_size, "uint8", len(self.classes))

    @model_validator(mode="after")
    def _sound(self) -> Self:
        refuse_repeated(self.classes, "class")
        if len(self.spacing) not in (0, 3):
            raise ValueError("spacing is not three numbers, such as 1,1,1")
        if self.window and (len(self.window) != 2 or not self.window[0] < self.window[1]):
            raise ValueError("window is not two numbers in ascending order, such as -160,240")
        return self
