"""How recordings become inputs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sglr.core.task import Targets
from sglr.data.schema import DataSchema, Name, refuse_repeated

WINDOW, STEP = 0.025, 0.010
"""Seconds of a spectrogram's window, and from one window to the next: customary for speech."""


class AudioSchema(DataSchema):
    """How recordings become inputs.

    Parameters
    ----------
    classes
        The classes in their order.
    rate
        Samples per second.
    seconds
        The length of an input.
    features
        Waves ``[1, samples]``, or log-mel spectrograms ``[1, bands, windows]``.
    mel_bands
        The number of bands of a spectrogram.
    """

    kind: Literal["audio"] = "audio"
    classes: Annotated[tuple[Name, ...], Field(min_length=2)]
    rate: Annotated[int, Field(ge=1, le=1_000_000)] = 16_000
    seconds: Annotated[float, Field(gt=0, le=86_400)] = 1.0
    features: Literal["wave", "mel"] = "wave"
    mel_bands: Annotated[int, Field(ge=2, le=256)] = 64

    @property
    def samples(self) -> int:
        """Of a wave."""
        return round(self.seconds * self.rate)

    @property
    def window(self) -> int:
        """Samples of a window."""
        return max(2, round(WINDOW * self.rate))

    @property
    def step(self) -> int:
        """Samples from one window to the next."""
        return max(1, round(STEP * self.rate))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        if self.features == "wave":
            return (1, self.samples)
        return (1, self.mel_bands, 1 + (self.samples - self.window) // self.step)

    @property
    def targets(self) -> Targets:
        """What targets are: class numbers."""
        return Targets.of_classes(self.classes)

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        refuse_repeated(self.classes, "class")
        least = self.window if self.features == "mel" else 1
        if self.samples < least:
            raise ValueError(f"{self.seconds:g} seconds are {self.samples} samples, and {least} or more are needed")
        return self
