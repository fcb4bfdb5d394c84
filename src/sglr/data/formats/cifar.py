"""Read the binary version of CIFAR-10 and CIFAR-100.

One record for each image: one label byte (CIFAR-10) or a coarse and a fine one (CIFAR-100), then 1024 red,
1024 green and 1024 blue bytes, row by row.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sglr.core.errors import UsageError
from sglr.data.images.dataset import Pixels

AGAIN = "download the file again"
PIXELS = 3 * 32 * 32


def parse_records(content: bytes, label_bytes: int, source: str) -> Pixels:
    """Return the images of one file with their labels; if there are two labels, the last one (fine).

    Raises
    ------
    UsageError
        If the content is not a whole number of records.
    """
    size = label_bytes + PIXELS
    if not content or len(content) % size:
        problem = f"truncated or in another format: {len(content)} bytes are not a whole number of {size}-byte records"
        raise UsageError("file", source, problem, AGAIN)
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Pixels(images, records[:, label_bytes - 1].astype(np.int64), source)


def read_members(place: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Return the content of those files of ``names`` that are in a folder or a ``.tar.gz`` archive.

    Raises
    ------
    UsageError
        If the archive is corrupt.
    """
    if place.is_dir():
        return {name: (place / name).read_bytes() for name in names if (place / name).is_file()}
    try:
        return _unpack(place, names)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UsageError("file", place, f"corrupt or truncated archive ({error})", AGAIN) from error


def _unpack(archive: Path, names: Sequence[str]) -> dict[str, bytes]:
    content: dict[str, bytes] = {}
    with gzip.open(archive) as unzipped, tarfile.open(fileobj=unzipped) as tar:
        for member in tar:
            name = Path(member.name).name
            stream = tar.extractfile(member) if name in names else None
            if stream is not None:
                content[name] = stream.read()
        # The checksum is at the very end, after the last file.
        while unzipped.read(1 << 20):
            pass
    return content


def join(files: Mapping[str, bytes], names: Sequence[str], label_bytes: int, place: Path) -> Pixels:
    """Return the images of several files as one.

    Raises
    ------
    UsageError
        If one of them is missing.
    """
    parts = []
    for name in names:
        if name not in files:
            raise UsageError(
                "file", place / name, "missing, while the other files are there", "download all of them again"
            )
        parts.append(parse_records(files[name], label_bytes, str(place / name)))
    values = np.concatenate([part.values for part in parts])
    return Pixels(values, np.concatenate([part.labels for part in parts]), str(place))
