"""Which data set reads a file or a folder, where only its path is given."""

from __future__ import annotations

from pathlib import Path

from sglr.core.errors import UsageError
from sglr.data.images.decode import PICTURES
from sglr.data.schema import schema_type
from sglr.data.tables.files import is_table

ARRAYS = (".npz", ".npy", ".h5", ".hdf5")


def kind_of_file(path: Path, stated: str) -> str:
    """Return the name of the data set.

    Parameters
    ----------
    path
        The file or folder.
    stated
        The kind of the run's encoding: what a schema describes is read as it says.

    Raises
    ------
    UsageError
        If there is no such file, or no data set reads it.
    """
    if not path.exists():
        raise UsageError("data", path, "no such file or folder", "check the path")
    if stated != "table" and schema_type(stated) is not None:
        return stated
    if path.is_dir():
        images = any("images" in file.name and "idx3" in file.name for file in path.iterdir() if file.is_file())
        arrays = stated == "arrays" and any(path.glob("*.npy"))
        return "idx" if images else "arrays" if arrays else "folder"
    if stated == "arrays" and path.suffix.lower() in (".parquet", ".pq"):
        return "arrays"
    if is_table(path):
        return "table"
    if path.suffix.lower() in ARRAYS:
        return "arrays"
    if "idx3" in path.name:
        return "idx"
    if PICTURES.has(path.name):
        return "folder"
    problem = "not a kind of data that can be read"
    remedy = "give a folder of pictures, a table (.csv, .tsv, .parquet), arrays (.npz, .npy, .h5), or IDX files"
    raise UsageError("data", path, problem, remedy)
