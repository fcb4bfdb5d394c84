"""Pictures for a network that is trained: resized and scaled as its training pictures were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from sglr.core.errors import UsageError
from sglr.data.file_samples import OnBad
from sglr.data.images.dataset import image_tensor
from sglr.data.images.decode import Picture, PictureReader, stacked
from sglr.data.images.pixel_range import EIGHT_BITS, PixelRange
from sglr.data.new_samples import NewSamples, TrainedOn


def new_pictures(
    pictures: Sequence[Picture], source: str, trained: TrainedOn, *, labelled: bool, on_bad: OnBad = "error"
) -> NewSamples:
    """Return pictures as samples.

    Parameters
    ----------
    pictures
        The pictures, with numbers of their classes if they are ``labelled``.
    source
        Where they come from, for messages.
    trained
        What the network was trained on.
    labelled
        Whether their classes are known.
    on_bad
        Refuse a picture that can't be read, or leave it out.

    Raises
    ------
    UsageError
        If the network was not trained on pictures, or one can't be read or has another kind of values.
    """
    size, pixel_range = _form(trained, source)
    reader = PictureReader(size, on_bad)
    found = [(each, array) for each in pictures if (array := reader.decode(each, source)) is not None]
    if not found:
        raise UsageError("data", source, "none of its pictures can be read", "replace them")
    _check_kinds(reader, pixel_range, source)
    inputs = as_trained(stacked([array for _, array in found]), trained, pixel_range)
    targets = torch.tensor([each.label for each, _ in found]) if labelled else None
    return NewSamples(inputs, tuple(each.name for each, _ in found), targets, tuple(reader.notes))


def as_trained(values: NDArray[Any], trained: TrainedOn, pixel_range: PixelRange | None = None) -> torch.Tensor:
    """Return stored pixels ``[N, height, width, channels]`` as inputs, with the channels and size of the training."""
    channels, height, width = trained.input_shape
    size = None if values.shape[1:3] == (height, width) or height != width else height
    return image_tensor(values, size, channels, pixel_range or range_of(trained))


def range_of(trained: TrainedOn) -> PixelRange:
    """Return the pixel values that became -1 and 1 in the training."""
    low, high = trained.encoding.get("range", EIGHT_BITS[:2])
    return PixelRange(float(low), float(high))


def _form(trained: TrainedOn, source: str) -> tuple[tuple[int, int], PixelRange]:
    kind = trained.encoding.get("kind")
    if len(trained.input_shape) != 3 or kind not in ("image", "arrays", "masks"):
        what = f"data of kind {kind}" if kind else "arrays"
        problem = f"these are pictures, and the network was trained on {what} of shape {list(trained.input_shape)}"
        raise UsageError("data", source, problem, "give such data")
    if trained.encoding.get("pixels") is False:
        problem = "these are pictures, scaled to ±1, and the network was trained on arrays of other values than pixels"
        raise UsageError("data", source, problem, "give arrays of such values")
    return (trained.input_shape[1], trained.input_shape[2]), range_of(trained)


def _check_kinds(reader: PictureReader, pixel_range: PixelRange, source: str) -> None:
    """Refuse pictures of other kinds of values than the training's: their range would mean something else."""
    trained_on_bytes = 0 <= pixel_range.low < pixel_range.high <= EIGHT_BITS.high
    for kind, name in reader.kinds.items():
        if (kind == "8 bits") != trained_on_bytes:
            other = "8 bits" if trained_on_bytes else f"values from {pixel_range}"
            problem = f"has pixel values of {kind}, and the training pictures had {other}"
            raise UsageError("file", f"{source}/{name}", problem, "convert it as they were")
