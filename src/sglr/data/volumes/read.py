"""Read NIfTI volumes with nibabel: in one orientation, resampled, cropped or padded, with standardised intensities."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from sglr.core.errors import UsageError
from sglr.data.class_folders import FileKind

VOLUMES = FileKind("volumes", (".nii", ".nii.gz"))
"""Files of volumes."""

Size = tuple[int, int, int]


class Volume(NamedTuple):
    """A volume in the orientation from left to right, from back to front, from bottom to top (RAS)."""

    values: NDArray[np.float32]  # [channels, x, y, z]
    spacing: tuple[float, float, float] | None
    """Millimetres from voxel to voxel; None if channels differ in them."""
    affine: NDArray[np.float64]
    """Where voxels lie, in millimetres, 4 x 4."""
    stored: NDArray[np.float64]
    """The orientation in which the file has it, as nibabel's ``io_orientation`` tells."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels in each direction."""
        return self.values.shape[1:]

    def lies_with(self, other: Volume) -> bool:
        """Return whether voxels of the same number are less than half a voxel apart in two volumes of one shape."""
        corners = np.array([(*corner, 1) for corner in product(*((0, length - 1) for length in self.shape))])
        apart = corners @ (self.affine - other.affine)[:3].T
        widths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return bool((np.linalg.norm(apart, axis=1) < widths.min() / 2).all())

    def turned_apart(self, other: Volume) -> bool:
        """Return whether voxels that belong together have other numbers since both volumes were turned to RAS."""
        return not np.array_equal(self.stored, other.stored) and not self.lies_with(other)


class Form(NamedTuple):
    """The form that volumes get; see `sglr.data.volumes.schema.VolumesSchema`."""

    size: Size | None
    spacing: Sequence[float] = ()
    window: Sequence[float] = ()


def read_volume(nibabel: Any, files: Sequence[Path]) -> Volume:
    """Read a volume of one file, whose fourth dimension are channels, or of one file for each channel.

    Raises
    ------
    ValueError
        If it is no volume, its channels differ in shape, or a value is not finite; nibabel raises further errors.
    UsageError
        If channels are stored in different orientations, and lie elsewhere by their affines.
    """
    parts = [_read_file(nibabel, file) for file in files]
    first, last = parts[0], parts[-1]
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"its channels have shapes {' and '.join(map(str, sorted(shapes)))}")
    for part, file in zip(parts, files, strict=True):
        if part.turned_apart(first):
            raise turned_apart(file, f"its first channel {files[0]}")
    alike = all(np.allclose(part.spacing or (), last.spacing or (), rtol=0.01) for part in parts)
    values = np.stack([channel for part in parts for channel in part.values])
    return first._replace(values=values, spacing=last.spacing if alike else None)


def turned_apart(file: Path, other: str) -> UsageError:
    """Return the error for a file that is stored in another orientation than what it belongs to, and lies elsewhere."""
    problem = f"is stored in another orientation than {other}, and by their affines they lie apart"
    return UsageError("file", file, problem, "give both the same affine")


def _read_file(nibabel: Any, file: Path) -> Volume:
    loaded = nibabel.load(file)
    image = nibabel.as_closest_canonical(loaded)
    values = np.asarray(image.dataobj, dtype=np.float32)
    if values.ndim not in (3, 4) or 0 in values.shape:
        raise ValueError(f"it has {values.ndim} dimensions, {' x '.join(map(str, values.shape))}, not 3 or 4")
    if not np.isfinite(values).all():
        raise ValueError("it has values that are not finite")
    channels = np.moveaxis(values, 3, 0) if values.ndim == 4 else values[None]
    x, y, z = map(float, image.header.get_zooms()[:3])
    return Volume(channels, (x, y, z), image.affine, nibabel.io_orientation(loaded.affine))


def formed(volume: Volume, form: Form) -> NDArray[np.float32]:
    """Return a volume in its form, ``[channels, *size]``: what is padded has the lowest intensity.

    Raises
    ------
    ValueError
        If all voxels of a channel have one value, so that it can't be standardised, or its channels have different
        spacings and it is to be resampled to one.
    """
    values = _standardised(volume.values, form.window)
    scaled = _scaled(torch.from_numpy(values), volume.spacing, form, "trilinear")
    return _fitted(scaled.numpy(), form.size, float(values.min()))


def formed_map(volume: Volume, form: Form) -> NDArray[np.uint8]:
    """Return a label map in the form of its volume, ``[*size]``, by the nearest voxel; what is padded is class 0.

    Raises
    ------
    ValueError
        If it has several channels, or values that are no class numbers.
    """
    values = volume.values
    if len(values) > 1:
        raise ValueError(f"it has {len(values)} channels, not one class for each voxel")
    if (values % 1 != 0).any() or values.min() < 0 or values.max() > 255:
        raise ValueError(f"it has values from {values.min():g} to {values.max():g} that are no class numbers")
    scaled = _scaled(torch.from_numpy(values), volume.spacing, form, "nearest-exact")
    return np.asarray(_fitted(scaled.numpy(), form.size, 0.0)[0], dtype=np.uint8)


def _standardised(values: NDArray[np.float32], window: Sequence[float]) -> NDArray[np.float32]:
    if window:
        low, high = window
        return np.asarray(np.clip((values - low) / (high - low) * 2 - 1, -1, 1), dtype=np.float32)
    flat = values.reshape(len(values), -1).astype(np.float64)
    spread = flat.std(axis=1)
    if not spread.all():
        raise ValueError("all its voxels have one value")
    return np.asarray(((flat - flat.mean(1)[:, None]) / spread[:, None]).reshape(values.shape), dtype=np.float32)


def _scaled(values: torch.Tensor, spacing: Sequence[float] | None, form: Form, mode: str) -> torch.Tensor:
    """Resample ``[channels, x, y, z]`` to a spacing, or, without one, to the size."""
    shape = tuple(values.shape[1:])
    if form.spacing and spacing is None:
        raise ValueError("its channels have different spacings, and it is to be resampled to one")
    if form.spacing and spacing is not None:
        wanted = zip(shape, spacing, form.spacing, strict=True)
        target = tuple(max(1, round(length * own / new)) for length, own, new in wanted)
    else:
        target = form.size or shape
    return values if target == shape else interpolate(values[None], target, mode=mode)[0]


def _fitted(values: NDArray[np.float32], size: Size | None, padding: float) -> NDArray[np.float32]:
    """Crop or pad around the middle."""
    for axis, length in enumerate(size or (), 1):
        more = length - values.shape[axis]
        if more < 0:
            values = np.take(values, range(-more // 2, -more // 2 + length), axis)
        elif more:
            margins = [(0, 0)] * values.ndim
            margins[axis] = (more // 2, more - more // 2)
            values = np.pad(values, margins, constant_values=padding)
    return values
