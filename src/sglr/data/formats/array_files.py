"""Named arrays in files: NPZ, NPY files, HDF5, Parquet; checked before they are read, and never unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from sglr.core.errors import UsageError
from sglr.system.extras import optional
from sglr.system.machine import refuse_beyond_memory

NPY = ".npy"
NPZ, HDF5, PARQUET = (".npz",), (".h5", ".hdf5"), (".parquet", ".pq")
ENDINGS = (*NPZ, *HDF5, *PARQUET)
KINDS = "a .npz, .h5, .hdf5 or .parquet file, or a folder of .npy files"
MOST_ARRAYS = 1000
"""Arrays in one file."""
COPIES = 2
"""How often an array is held while it is read: as it is stored, and as inputs."""

Read = Callable[[], Any]


def array_names(path: Path) -> Mapping[str, Read]:
    """Return how each array of a file or folder is read, by its name; nothing but headers is read now.

    Arrays of NPY and HDF5 files are given unread: as a memory map, and as an ``h5py.Dataset``.

    Raises
    ------
    UsageError
        If the file can't be read, is damaged, or holds Python objects.
    """
    ending = path.suffix.lower()
    with _readable(path):
        if path.is_dir():
            found = {file.stem: _npy(file) for file in sorted(path.glob("*.npy"))[:MOST_ARRAYS]}
        elif ending == NPY:
            found = {path.stem: _npy(path)}
        elif ending in NPZ:
            found = dict(_npz(path))
        elif ending in HDF5:
            found = dict(_hdf5(path))
        elif ending in PARQUET:
            found = dict(_parquet(path))
        else:
            raise UsageError("arrays", path, "not a file of arrays", f"give {KINDS}")
    if not found:
        raise UsageError("arrays", path, "has no arrays", f"give {KINDS}")
    return found


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say what can't be read, whatever the library raises."""
    try:
        yield
    except UsageError:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise UsageError("arrays", path, f"can't be read ({reason})", "write the file again") from error


def _npy(file: Path) -> Read:
    def read() -> Any:
        with _readable(file):
            return np.load(file, mmap_mode="r", allow_pickle=False)

    return read


def _npz(path: Path) -> Iterator[tuple[str, Read]]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        for member in members[:MOST_ARRAYS]:
            with archive.open(member) as file:
                size = _stated_size(file, path, member.filename)
                if size != member.file_size - file.tell():
                    problem = f"its header states {size} bytes, and there are {member.file_size - file.tell()}"
                    raise UsageError("arrays", f"{path}: {member.filename}", problem, "write the file again")
            yield member.filename.removesuffix(".npy"), _npz_reader(path, member.filename, size)


def _npz_reader(path: Path, member: str, size: int) -> Read:
    def read() -> Any:
        refuse_beyond_memory(COPIES * size, "arrays", path, member, "give an HDF5 file, or a folder of .npy files")
        with _readable(path), zipfile.ZipFile(path) as archive, archive.open(member) as file:
            return npy.read_array(file, allow_pickle=False)

    return read


def _stated_size(file: IO[bytes], path: Path, name: str) -> int:
    """Return the bytes of the values that a NPY header states."""
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise UsageError("arrays", f"{path}: {name}", f"format {version} is not known", "save it with np.savez")
    shape, _, dtype = read(file)
    if dtype.hasobject:
        remedy = "save arrays of numbers or texts, such as x.astype('float32')"
        raise UsageError("arrays", f"{path}: {name}", "holds Python objects, which are not unpickled", remedy)
    return math.prod(shape) * dtype.itemsize


def _hdf5(path: Path) -> Iterator[tuple[str, Read]]:
    h5py = optional("h5py", "data", "arrays", path)

    found: dict[str, Any] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and len(found) < MOST_ARRAYS:
            found[name] = item

    h5py.File(path, "r").visititems(note)
    for name, item in found.items():
        yield name, _hdf5_reader(path, item)


def _hdf5_reader(path: Path, item: Any) -> Read:
    def read() -> Any:
        if item.dtype.kind == "O":  # texts of any length
            refuse_beyond_memory(COPIES * 64 * item.size, "arrays", path, item.name, "give fewer")
            with _readable(path):
                return item.asstr()[()]
        return item

    return read


def _parquet(path: Path) -> Iterator[tuple[str, Read]]:
    pq = optional("pyarrow.parquet", "data", "arrays", path)
    for name in pq.read_schema(path).names[:MOST_ARRAYS]:
        yield name, _parquet_reader(path, name)


def _parquet_reader(path: Path, name: str) -> Read:
    def read() -> Any:
        import pyarrow.parquet as pq

        with _readable(path):
            whole = pq.ParquetFile(path)
            stored = sum(whole.metadata.row_group(group).total_byte_size for group in range(whole.num_row_groups))
            refuse_beyond_memory(COPIES * stored, "arrays", path, name, "give an HDF5 file")
            return _as_array(whole.read([name]).column(0).combine_chunks(), path, name)

    return read


def _as_array(column: Any, path: Path, name: str) -> Any:
    """Return a column of lists of equal length as an array ``[N, ...]``; a column of numbers or texts as ``[N]``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    shape = [len(column)]
    while (
        pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type)
    ):
        lengths = pc.unique(pc.list_value_length(column))
        if len(lengths) != 1 or not lengths[0].is_valid:
            remedy = "give lists of one length, or fill them up"
            raise UsageError("column", name, f"{path} has lists of {len(lengths)} lengths in it", remedy)
        shape.append(lengths[0].as_py())
        column = column.flatten()
    if column.null_count:
        problem = f"{path} has {column.null_count} missing value(s) in it"
        raise UsageError("column", name, problem, "fill them in, or remove the rows")
    return column.to_numpy(zero_copy_only=False).reshape(shape)
