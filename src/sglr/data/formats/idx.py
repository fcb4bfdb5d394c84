"""Read IDX files, the format of MNIST and Fashion-MNIST.

Big-endian: two zero bytes, a type byte (8 = unsigned byte), the number of dimensions, one 32-bit length for
each dimension, then the values.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError

AGAIN = "download the file again"
IMAGES, LABELS = 3, 1  # number of dimensions of an image file and of a label file


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzipped.

    Parameters
    ----------
    path
        The file; one whose name ends in ``.gz`` is decompressed.
    dimensions
        The number of dimensions it must have: ``IMAGES`` or ``LABELS``.

    Raises
    ------
    UsageError
        If the file is corrupt, truncated, too long or in another format.
    """
    content = read_bytes(path)
    magic, expected = content[:4], bytes([0, 0, 8, dimensions])
    if magic != expected:
        kind = f"IDX file of bytes in {dimensions} dimension(s)"
        problem = f"not an {kind}: it starts with {magic.hex()}, not {expected.hex()}"
        raise UsageError("file", path, problem, AGAIN)
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise UsageError("file", path, "truncated within its header", AGAIN)
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    found = len(content) - start
    if found != prod(shape):
        problem = f"has {found} bytes of values, but its header says {prod(shape)}"
        raise UsageError("file", path, problem, AGAIN)
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, decompressed if its name ends in ``.gz``.

    Raises
    ------
    UsageError
        If the file cannot be read or its compression is corrupt.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError("file", path, f"corrupt or truncated gzip file ({error})", AGAIN) from error
    except OSError as error:
        raise UsageError("file", path, f"cannot be read ({error.strerror})", "check its permissions") from error
