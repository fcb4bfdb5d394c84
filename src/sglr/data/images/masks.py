"""Read masks: pictures of class numbers, of 0 and 255, or with a palette, of the size of their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.data.images.mask_pairs import Pair
from sglr.data.schema import DataSchema, Name, refuse_repeated

IGNORED = 255
"""The number of pixels that belong to no class, unless a mask holds nothing but 0 and 255."""

BINARY = ("background", "foreground")
"""The classes of masks that hold nothing but 0 and 255."""

TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""

Size = Annotated[int, Field(ge=1, le=1 << 16)]


class MasksSchema(DataSchema):
    """How pictures and masks become inputs and targets.

    Parameters
    ----------
    classes
        The classes of pixels, in the order of their numbers.
    size
        Height and width of both.
    channels
        Of pictures.
    range
        The pixel values that become -1 and 1.
    binary
        Whether masks hold 0 and 255, for two classes; else 255 is of no class.
    """

    kind: Literal["masks"] = "masks"
    classes: Annotated[tuple[Name, ...], Field(min_length=2, max_length=IGNORED)]
    size: tuple[Size, Size]
    channels: Literal[1, 3]
    range: tuple[float, float] = (0.0, 255.0)
    binary: bool = False

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return (self.channels, *self.size)

    @property
    def targets(self) -> Targets:
        """What targets are: the class of every pixel."""
        return Targets(self.classes, self.size, "uint8", len(self.classes))

    @model_validator(mode="after")
    def _sound(self) -> Self:
        refuse_repeated(self.classes, "class")
        if not self.range[0] < self.range[1]:
            raise ValueError("range is not two numbers in ascending order")
        if self.binary and len(self.classes) != 2:
            raise ValueError("masks of 0 and 255 have two classes")
        return self


def read_masks(pairs: Sequence[Pair], size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Return masks as they are stored, ``[N, height, width]``.

    Parameters
    ----------
    pairs
        The pictures with their masks.
    size
        Height and width to resize masks to, by the nearest pixel; None to leave them.

    Raises
    ------
    UsageError
        If one can't be read, has another size than its picture, or has colours instead of numbers.
    """
    from PIL import Image

    found = []
    for pair in pairs:
        mask = _read(pair)
        if size is not None and mask.shape != size:
            mask = np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
        found.append(mask)
    return np.stack(found)


def numbered(
    masks: NDArray[np.uint8], pairs: Sequence[Pair], schema: MasksSchema | None, classes: Sequence[str]
) -> tuple[NDArray[np.uint8], tuple[str, ...], bool]:
    """Return masks as class numbers, the names of the classes, and whether masks were of 0 and 255.

    Parameters
    ----------
    masks
        As stored, ``[N, height, width]``.
    pairs
        Where they come from.
    schema
        What decides, if there is a schema.
    classes
        Names that are given; empty for numbers as names.

    Raises
    ------
    UsageError
        If there is a single class, or a number that is none; the message names the file.
    """
    present = set(np.unique(masks).tolist())
    binary = present <= {0, IGNORED} and IGNORED in present if schema is None else schema.binary
    if not binary and present == {0, IGNORED}:
        problem = "all masks hold nothing but 0 and 255, and the schema wants class numbers"
        raise UsageError("masks", pairs[0].mask.parent, problem, "save 1 in place of 255, or edit the schema")
    if binary and present <= {0, IGNORED}:
        masks = np.where(masks == IGNORED, np.uint8(1), masks)
    numbers = set(np.unique(masks).tolist()) - ({IGNORED} if not binary else set())
    names = tuple(classes) or (BINARY if binary else tuple(map(str, range(max(numbers, default=0) + 1))))
    if len(names) < 2:
        problem = f"every mask is {sorted(numbers) or IGNORED} everywhere"
        raise UsageError("classes", ",".join(names), problem, "give masks with two or more classes")
    wrong = sorted(number for number in numbers if number >= len(names))
    if wrong:
        first = pairs[int((masks == wrong[0]).reshape(len(masks), -1).any(1).argmax())]
        problem = f"has pixels of number {wrong[0]}, and the {len(names)} classes are numbered from 0"
        raise UsageError("file", first.mask, problem, "correct the mask, or name all classes with --classes")
    return masks, names, binary


def mask_notes(masks: NDArray[np.uint8], classes: Sequence[str]) -> list[str]:
    """Return what the user should know about the masks ``[N, height, width]`` of the training part."""
    counts = np.bincount(masks.reshape(-1), minlength=256)
    absent = [name for number, name in enumerate(classes) if not counts[number]]
    notes = [f"no training mask has a pixel of class {', '.join(absent)}"] if absent else []
    if counts[IGNORED]:
        share = f"{counts[IGNORED] / masks.size:.2%} of the training masks' pixels are {IGNORED}, which is no class"
        notes.append(f"{share}: --ignore-index {IGNORED} leaves them out")
    return notes


def _read(pair: Pair) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(pair.mask) as image:
            mask = _values(image)
        with Image.open(pair.picture) as picture:
            turned = picture.getexif().get(0x0112) in TURNED
            width, height = picture.size[::-1] if turned else picture.size
    except UsageError:
        raise
    except Exception as error:  # decoders raise many kinds of errors for damaged files
        problem = (
            f"cannot be read as a mask of {pair.name} ({str(error).partition(chr(10))[0] or type(error).__name__})"
        )
        raise UsageError("file", pair.mask, problem, "replace it, or remove it with its picture") from error
    if mask.shape != (height, width):
        problem = f"has {mask.shape[1]} x {mask.shape[0]} pixels, and its picture {pair.picture} {width} x {height}"
        raise UsageError("file", pair.mask, problem, "give each mask the size of its picture")
    return mask


def _values(image: Any) -> NDArray[np.uint8]:
    """Return the numbers of a picture: grey values, or those that a palette gives colours to."""
    image.load()
    values = np.asarray(image.convert("L") if image.mode == "1" else image)
    if values.ndim == 3:
        colours = values[..., : 1 if image.mode in ("LA", "La") else 3]
        if not (colours == colours[..., :1]).all():
            raise ValueError(
                "it has colours, and no palette whose numbers could be classes; save class numbers instead"
            )
        values = colours[..., 0]
    if values.min() < 0 or values.max() > IGNORED or (values % 1 != 0).any():
        raise ValueError(f"it has numbers from {values.min()} to {values.max()}; classes are 0 to {IGNORED - 1}")
    return values.astype(np.uint8)
