"""The state of a block's clients that are not in its stack, in host memory or on disk.

A client that never took part has its initial weights, which follow from the seed, so nothing is stored for it. Rows
that changed since the last checkpoint are in host memory, the others in files if a folder is given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sglr.client_store.packing import Layout, largest, layout_of, pack, read_layout, unpack, write_layout
from sglr.client_store.row_files import FILES, RowFiles
from sglr.core.errors import DamagedCheckpoint
from sglr.core.weights import Weights, below

PREFIX = "population."
"""Prefix of a client store's tensors in a checkpoint."""

HOST_BYTES = 1 << 28
"""Changed rows of more than this many bytes go to disk before the next checkpoint."""


class ClientStore:
    """The state of absent clients, by client id.

    Tensors are named as in `sglr.stacking.stack.Stack.state`, with a leading axis for the clients.
    """

    def __init__(self) -> None:
        self._changed: dict[int, tuple[Layout, Tensor]] = {}
        self._bytes = 0
        self._largest = torch.zeros(())
        self._files: RowFiles | None = None

    def keep_in(self, folder: Path, checkpoints: Path) -> None:
        """Keep rows in files of ``folder``, as long as one of ``checkpoints`` needs them."""
        self._files = RowFiles(folder, checkpoints, f"clients.{PREFIX}")

    def __contains__(self, client: int) -> bool:
        return client in self._changed or (self._files is not None and client in self._files)

    @property
    def clients(self) -> list[int]:
        """The clients with stored state, ascending."""
        on_disk = [] if self._files is None else self._files.clients.tolist()
        return sorted({*self._changed, *on_disk})

    def put(self, clients: Sequence[int], tensors: Weights) -> None:
        """Store the state of clients, ``[n, ...]``.

        Raises
        ------
        NotWritten
            If it has to go to disk, and the disk is full; it stays in memory.
        """
        layout, rows = layout_of(tensors), pack(tensors)
        self._largest = torch.maximum(self._largest, largest(tensors).amax())
        for client, row in zip(clients, rows, strict=True):
            self._bytes += len(row) - len(self._changed[client][1] if client in self._changed else ())
            # A copy: a view would keep the memory of all rows.
            self._changed[client] = (layout, row.clone())
        if self._bytes > HOST_BYTES and self._files is not None:
            self._write([])

    def get(self, clients: Sequence[int]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Yield the stored state of clients, ``[n, ...]``, grouped by clients with the same tensors.

        Raises
        ------
        DamagedCheckpoint
            If a file's content is not what was written.
        """
        for layout, rows in self._rows(clients).items():
            yield list(rows), unpack(torch.stack(list(rows.values())), layout)

    def _rows(self, clients: Sequence[int]) -> dict[Layout, dict[int, Tensor]]:
        """Return the rows of clients by layout."""
        found: dict[Layout, dict[int, Tensor]] = defaultdict(dict)
        for client in clients:
            if client in self._changed:
                layout, row = self._changed[client]
                found[layout][client] = row
        if self._files is not None:
            others = [client for client in clients if client not in self._changed]
            for own, rows, layout in self._files.read(others):
                found[layout].update(zip(own, rows, strict=True))
        return found

    def _write(self, unchanged: Sequence[int]) -> None:
        """Write the changed rows to disk, with rows of other clients whose files can then be deleted."""
        assert self._files is not None, "there is a folder"
        for layout, rows in self._rows([*self._changed, *unchanged]).items():
            self._files.write(list(rows), torch.stack(list(rows.values())), layout)
            for client in rows.keys() & self._changed.keys():
                self._bytes -= len(self._changed.pop(client)[1])

    def state(self) -> dict[str, Tensor]:
        """Return the state for a checkpoint: the index of the files, after writing changed rows, or all rows.

        ``largest`` is the largest absolute value of everything stored since the last call.

        Raises
        ------
        NotWritten
            If the disk is full; earlier files stay unchanged.
        """
        if self._files is None:
            tensors = self._packed()
        else:
            self._write(self._files.out_of_date(list(self._changed), 2 * len(self._changed)))
            self._files.tidy()
            tensors = self._files.state()
        tensors["largest"], self._largest = self._largest, torch.zeros(())
        return {f"{PREFIX}{name}": tensor for name, tensor in tensors.items()}

    def _packed(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for number, (layout, rows) in enumerate(self._rows(self.clients).items()):
            tensors[f"{number}.clients"] = torch.tensor(list(rows))
            tensors[f"{number}.rows"] = torch.stack(list(rows.values()))
            tensors[f"{number}.layout"] = torch.tensor(list(write_layout(layout).encode()), dtype=torch.uint8)
        return tensors

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned, from a store in host memory or on disk.

        Raises
        ------
        DamagedCheckpoint
            If a file is missing or truncated.
        """
        own = below(PREFIX, tensors)
        if FILES in own and self._files is None:
            raise DamagedCheckpoint("the clients' weights are in files of the run's folder, which was not given")
        if self._files is not None:
            self._files.restore(own if FILES in own else {})
        self._changed.clear()
        self._bytes, self._largest = 0, torch.zeros(())
        for number in range(sum(name.endswith(".layout") for name in own)):
            layout = read_layout(bytes(own[f"{number}.layout"].tolist()).decode())
            rows = own[f"{number}.rows"]
            self._changed |= {
                client: (layout, row.clone())
                for client, row in zip(own[f"{number}.clients"].tolist(), rows, strict=True)
            }
            self._bytes += rows.numel()


def is_population(tensors: Weights) -> bool:
    """Return whether a checkpoint's tensors are those of a client store, not of a stack of all clients."""
    return any(name.startswith(PREFIX) for name in tensors)


def clients_of(tensors: Weights, clients: Sequence[int]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Yield the clients' states from the state of a stack of all clients, as `ClientStore.put` takes them.

    Parameters
    ----------
    tensors
        What `sglr.stacking.stack.Stack.state` returned.
    clients
        The clients' ids, by row.
    """
    weights = {name: tensor for name, tensor in tensors.items() if name.startswith("weights.")}
    parts = [_listed("optimizer.", tensors, len(clients)), _listed("accumulated.", tensors, len(clients))]
    groups: dict[tuple[bool, ...], list[int]] = defaultdict(list)
    for row in range(len(clients)):
        groups[tuple(row in places for places, _ in parts)].append(row)
    for there, rows in groups.items():
        for first in range(0, len(rows), 1000):
            chosen = rows[first : first + 1000]
            found = {name: tensor[chosen] for name, tensor in weights.items()}
            for (places, own), has in zip(parts, there, strict=True):
                found |= {name: tensor[[places[row] for row in chosen]] for name, tensor in own.items() if has}
            yield [clients[row] for row in chosen], found


def _listed(prefix: str, tensors: Weights, clients: int) -> tuple[dict[int, int], dict[str, Tensor]]:
    """Return where each row that has such tensors is in them, and the tensors without the lists of rows."""
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    lists = [tensor for name, tensor in own.items() if name.endswith(".rows")]
    states = {name: tensor for name, tensor in own.items() if not name.endswith(".rows")}
    rows = lists[0].tolist() if lists else range(clients) if states else ()
    return {row: place for place, row in enumerate(rows)}, states
