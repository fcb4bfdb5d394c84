"""Pictures with a class for each pixel: masks:PATH names a folder with images/ and masks/, or NAME_mask.png files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.class_folders import SampleFile
from sglr.data.described import Described
from sglr.data.file_samples import FileSamples
from sglr.data.formats.files import resolve
from sglr.data.images.dataset import check_form, image_tensor
from sglr.data.images.decode import PICTURES, Picture, PictureReader
from sglr.data.images.mask_pairs import Pair, find_pairs, has_masks
from sglr.data.images.masks import MasksSchema, mask_notes, numbered, read_masks
from sglr.data.images.new_pictures import new_pictures
from sglr.data.images.pixel_range import PIXEL_RANGE, PixelRange, choose_range, range_notes, stated_range
from sglr.data.new_files import new_files
from sglr.data.new_samples import NewSamples, TrainedOn
from sglr.system.machine import refuse_beyond_memory

__all__ = ["Masks"]


@dataclass(frozen=True)
class Masks(Described):
    """Pictures resized bilinearly, their masks by the nearest pixel, with one geometry."""

    image_size: int | None = field(
        default=None,
        metadata={"help": "height and width to resize to, in pixels; default: as stored", "clients": "take"},
    )
    image_channels: int | None = field(
        default=None,
        metadata={"help": "1 for grey, 3 for colour; default: colour unless all are grey", "clients": "take"},
    )
    pixel_range: tuple[float, ...] | None = field(default=None, metadata=PIXEL_RANGE)

    schema_type: ClassVar[type[MasksSchema]] = MasksSchema

    def load(self, data_dir: Path | None) -> Dataset:
        """Read the pictures and masks, and hold out some for testing.

        Raises
        ------
        UsageError
            If a picture has no mask, a mask no picture or another size, or one can't be read.
        """
        root, agreed = resolve("masks", self.path, data_dir), self.agreed(MasksSchema)
        check_form(self.image_size, self.image_channels)
        self._check_agreed(agreed)
        pairs = find_pairs(root)
        size = agreed.size if agreed else (self.image_size,) * 2 if self.image_size else None
        _check_room(len(pairs), agreed, self.image_size)
        reader = PictureReader(size)
        stored = reader.read((Picture(pair.name, pair.picture, 0) for pair in pairs), str(root), ["picture"])
        masks, classes, binary = numbered(
            read_masks(pairs, size), pairs, agreed, agreed.classes if agreed else self.classes
        )
        listed = _listed(pairs)
        rows = listed.divided(self.test_fraction, self.split_seed, self.group)
        train = stored.select(rows[0])
        stated = PixelRange(*agreed.range) if agreed else stated_range(self.pixel_range)
        found = choose_range(stated, train.values, reader.kinds, str(root))
        schema = agreed or self.stated(
            MasksSchema,
            classes=classes,
            size=masks.shape[1:],
            channels=self.image_channels or stored.values.shape[3],
            range=(found.low, found.high),
            binary=binary,
        )
        inputs = image_tensor(stored.values, None, schema.channels, found)
        notes = [*reader.notes, *range_notes(found, train.values, train.names), *mask_notes(masks[rows[0]], classes)]
        return self.dataset(schema, (inputs, torch.from_numpy(masks)), rows, listed.columns, notes)

    def read_new(self, trained: TrainedOn) -> NewSamples:
        """Read pictures by the schema of the training; with their masks, if they have any.

        Raises
        ------
        UsageError
            If there are no pictures, or one can't be read.
        """
        root, schema = resolve("masks", self.path, None), MasksSchema.from_json(trained.encoding)
        if root.is_dir() and has_masks(root):
            pairs = find_pairs(root)
            held = [pair for pair in pairs if pair.part == 2] or pairs
            masks, _, _ = numbered(read_masks(held, schema.size), held, schema, schema.classes)
            pictures = [Picture(pair.name, pair.picture, 0) for pair in held]
            found = new_pictures(pictures, self.path, trained, labelled=False)
            return replace(found, targets=torch.from_numpy(masks))
        new = new_files(root, PICTURES, ())
        pictures = [Picture(file.name, file.file, 0) for file in new.files]
        found = new_pictures(pictures, str(new.place), trained, labelled=False)
        return replace(found, notes=(*new.notes, *found.notes))

    def _check_agreed(self, agreed: MasksSchema | None) -> None:
        """Refuse parameters that contradict the schema."""
        if agreed is None:
            return
        said = {
            "image_size": (self.image_size, agreed.size[0] if agreed.size[0] == agreed.size[1] else agreed.size),
            "image_channels": (self.image_channels, agreed.channels),
            "pixel_range": (self.pixel_range and tuple(self.pixel_range), agreed.range),
        }
        for name, (given, decided) in said.items():
            if given is not None and given != decided:
                raise UsageError(name, given, f"the schema says {decided}", "leave it out, or edit the schema")


def _listed(pairs: list[Pair]) -> FileSamples[None]:
    files = [SampleFile(pair.name, pair.picture, 0, pair.folder) for pair in pairs]
    part = np.array([pair.part for pair in pairs], dtype=np.int8)
    return FileSamples([None] * len(pairs), files, part, bool((part == 2).any()), [])


def _check_room(count: int, agreed: MasksSchema | None, image_size: int | None) -> None:
    """Raise UsageError, before any picture is read, if the resized pictures don't fit into memory."""
    height, width = agreed.size if agreed else (image_size or 0, image_size or 0)
    what = f"{count} pictures of {height} x {width} pixels with their masks"
    refuse_beyond_memory(count * height * width * 7, "image_size", height, what, "give a smaller size")
