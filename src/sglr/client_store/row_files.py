"""Rows of many clients on disk: each file is written once and never changed, and an index locates each row.

A checkpoint stores the index of its time, so a file is kept as long as a kept checkpoint refers to it. A write
contains the changed rows, and rows of files that are mostly outdated, so that these files can be deleted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sglr.client_store.packing import Layout, read_layout, write_layout
from sglr.core.errors import DamagedCheckpoint, NotRead, NotWritten
from sglr.storage.checkpoint import open_tensors, save_tensors
from sglr.storage.files import files_in, reading, sweep_partials, written_whole

PLACES, FILES, DIGESTS = "places", "files", "digests"
"""Tensors of the index: client, file and row ``[V, 3]``; file, rows and bytes ``[F, 3]``; SHA-256 ``[F, 32]``."""

SMALL_BYTES, MANY = 1 << 20, 256
"""This many files of at most this many bytes each are merged into one."""

_NAME = re.compile(r"rows-(\d+)\.safetensors")
_ROWS = "rows"


@dataclass
class _File:
    """A file of rows.

    Parameters
    ----------
    rows, length, digest
        The number of rows written, the file's bytes, and its SHA-256.
    checked
        Whether its content was compared with what was written.
    """

    rows: int
    length: int
    digest: bytes
    checked: bool = False


@dataclass
class RowFiles:
    """Rows in the files of a folder.

    Parameters
    ----------
    folder
        The folder; created with the first file.
    checkpoints
        The folder of the kept checkpoints.
    index_name
        Prefix of the names of the index's tensors in a checkpoint.
    """

    folder: Path
    checkpoints: Path
    index_name: str
    _files: dict[int, _File] = field(default_factory=dict)
    _damaged: set[bytes] = field(default_factory=set)
    _file_of: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))  # by client; -1 for none
    _row_of: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))

    def __contains__(self, client: int) -> bool:
        return client < len(self._file_of) and bool(self._file_of[client] >= 0)

    @property
    def clients(self) -> NDArray[np.int64]:
        """The clients that have a row, ascending."""
        return np.flatnonzero(self._file_of >= 0)

    def write(self, clients: Sequence[int], rows: Tensor, layout: Layout) -> None:
        """Write rows, uint8 ``[n, B]``, to a new file; they replace the clients' earlier rows.

        Raises
        ------
        NotWritten
            If they can't be written, usually because the disk is full; nothing is changed then.
        """
        number = max((*self._files, *self._numbers()), default=0) + 1
        path = self._path(number)
        try:
            self.folder.mkdir(exist_ok=True)
            with written_whole(path) as partial:
                _save(partial, rows, layout)
                digest, length = _digest(partial), partial.stat().st_size
        except OSError as error:
            raise NotWritten(f"{path}: clients' weights could not be written ({error.strerror or error})") from error
        self._files[number] = _File(len(rows), length, digest, checked=True)
        self._make_room(max(clients, default=-1) + 1)
        self._file_of[list(clients)], self._row_of[list(clients)] = number, np.arange(len(clients))

    def read(self, clients: Sequence[int]) -> Iterator[tuple[list[int], Tensor, Layout]]:
        """Yield the clients' rows, uint8 ``[n, B]``, file by file.

        Raises
        ------
        DamagedCheckpoint
            If a file's content is not what was written.
        NotRead
            If the operating system can't read it.
        """
        by_file: dict[int, list[int]] = defaultdict(list)
        for client in clients:
            by_file[int(self._file_of[client])].append(client)
        for number, own in by_file.items():
            yield own, *self._read_file(number, self._row_of[own].tolist())

    def _read_file(self, number: int, rows: Sequence[int]) -> tuple[Tensor, Layout]:
        try:
            with open_tensors(self._path(number)) as file:
                self._check(number)
                stored = file.get_slice(_ROWS)
                layout = read_layout((file.metadata() or {})["layout"])
                return torch.cat([stored[row : row + 1] for row in rows]), layout
        except DamagedCheckpoint as error:
            raise self._damage(number, str(error)) from error

    def _check(self, number: int) -> None:
        """Compare a file's content with what was written, when it is read for the first time."""
        known = self._files[number]
        if known.checked:
            return
        if _digest(self._path(number)) != known.digest:
            raise ValueError("its content is not what was written")
        known.checked = True

    def _damage(self, number: int, problem: str) -> DamagedCheckpoint:
        # Checkpoints that need this file are skipped from now on.
        self._damaged.add(self._files[number].digest)
        return DamagedCheckpoint(f"clients' weights are damaged: {problem}")

    def out_of_date(self, clients: Sequence[int], most: int) -> list[int]:
        """Return clients whose unchanged rows should be rewritten, so that their files can be deleted.

        Parameters
        ----------
        clients
            The clients whose rows are written in any case.
        most
            Approximate limit of the rows to rewrite; a single file may exceed it.
        """
        live = self._live(clients)
        mostly_dead = [number for number, rows in live.items() if 2 * rows < self._files[number].rows]
        chosen: list[int] = []
        total = 0
        for number in sorted(mostly_dead, key=live.__getitem__):
            total += live[number]
            if chosen and total > most:
                break
            chosen.append(number)
        small = [number for number in live if self._files[number].length < SMALL_BYTES]
        if len(small) > MANY:
            chosen += small
        mask = np.isin(self._file_of, chosen) & (self._file_of >= 0)
        mask[[client for client in clients if client < len(mask)]] = False
        found: list[int] = np.flatnonzero(mask).tolist()
        return found

    def _live(self, without: Sequence[int]) -> dict[int, int]:
        """Return how many rows of each file are current, not counting the clients ``without``."""
        files = self._file_of.copy()
        files[[client for client in without if client < len(files)]] = -1
        numbers, counts = np.unique(files[files >= 0], return_counts=True)
        counted = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        return {number: counted.get(number, 0) for number in self._files}

    def tidy(self) -> None:
        """Delete the files to which neither the index nor a checkpoint refers."""
        live = self._live(())
        self._files = {number: file for number, file in self._files.items() if live[number]}
        try:
            unused = {*self._numbers()} - self._files.keys() - self._kept()
        except NotRead:  # try again next time
            return
        for number in unused:
            self._path(number).unlink(missing_ok=True)
        sweep_partials(self.folder)

    def _kept(self) -> set[int]:
        """Return the files to which checkpoints refer; raise NotRead if a checkpoint can't be read now."""
        found: set[int] = set()
        name = f"{self.index_name}{FILES}"
        for path in files_in(self.checkpoints, "*.safetensors"):
            try:
                with open_tensors(path) as file:
                    if name in file.keys():  # noqa: SIM118 - not a mapping
                        found.update(file.get_tensor(name)[:, 0].tolist())
            except DamagedCheckpoint:  # it can't be restored anyway
                continue
        return found

    def state(self) -> dict[str, Tensor]:
        """Return the index."""
        clients = self.clients
        places = np.stack([clients, self._file_of[clients], self._row_of[clients]], 1).astype(np.int32)
        files = [(number, file.rows, file.length) for number, file in self._files.items()]
        digests: list[list[int]] = [list(file.digest) for file in self._files.values()]
        return {
            PLACES: torch.from_numpy(places),
            FILES: torch.tensor(files, dtype=torch.int64).reshape(-1, 3),
            DIGESTS: torch.tensor(digests, dtype=torch.uint8).reshape(-1, 32),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore an index; without index tensors, an empty one.

        Raises
        ------
        DamagedCheckpoint
            If one of its files is missing, truncated or known to be damaged; nothing is changed then.
        NotRead
            If one of them can't be read.
        """
        if not tensors:
            self._files, self._file_of, self._row_of = {}, np.empty(0, np.int32), np.empty(0, np.int32)
            return
        checked = {file.digest for file in self._files.values() if file.checked}
        files: dict[int, _File] = {}
        for (number, rows, length), digest in zip(tensors[FILES].tolist(), tensors[DIGESTS].numpy(), strict=True):
            file = files[number] = _File(rows, length, digest.tobytes())
            file.checked = file.digest in checked
            self._require(self._path(number), file)
        self._files = files
        places = tensors[PLACES].numpy()
        self._file_of, self._row_of = np.empty(0, np.int32), np.empty(0, np.int32)
        self._make_room(int(places[:, 0].max(initial=-1)) + 1)
        self._file_of[places[:, 0]], self._row_of[places[:, 0]] = places[:, 1], places[:, 2]

    def _require(self, path: Path, file: _File) -> None:
        if file.digest in self._damaged:
            raise DamagedCheckpoint(f"{path}: clients' weights are damaged")
        try:
            with reading(path):
                length = path.stat().st_size
        except FileNotFoundError as error:
            raise DamagedCheckpoint(f"{path}: clients' weights are missing") from error
        if length != file.length:
            raise DamagedCheckpoint(f"{path}: clients' weights are truncated: {length} of {file.length} bytes")

    def _make_room(self, clients: int) -> None:
        more = clients - len(self._file_of)
        if more > 0:
            self._file_of = np.append(self._file_of, np.full(more, -1, np.int32))
            self._row_of = np.append(self._row_of, np.zeros(more, np.int32))

    def _numbers(self) -> list[int]:
        found = (_NAME.fullmatch(path.name) for path in files_in(self.folder, "rows-*"))
        return [int(match[1]) for match in found if match]

    def _path(self, number: int) -> Path:
        return self.folder / f"rows-{number:09d}.safetensors"


def _save(path: Path, rows: Tensor, layout: Layout) -> None:
    save_tensors(path, {_ROWS: rows.contiguous()}, {"layout": write_layout(layout)})


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return file_digest(file, "sha256").digest()
