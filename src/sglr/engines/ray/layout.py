"""Which clients live together in a block, and which part of the cluster a block asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sglr.core.errors import UsageError
from sglr.storage.files import write_text
from sglr.storage.json_files import read_object

BLOCKS = "blocks.json"
"""The file of a run's folder that says how its clients were divided into blocks."""


@dataclass(frozen=True)
class Node:
    """What a machine of the cluster offers.

    Parameters
    ----------
    cpus, gpus
        Processors and GPUs.
    memory
        Bytes for actors, as Ray counts them.
    """

    cpus: float
    gpus: float
    memory: float


@dataclass(frozen=True)
class Share:
    """What one block asks the cluster for; a part of a processor or GPU is one that others use, too."""

    cpus: float
    gpus: float
    memory: int

    @property
    def threads(self) -> int:
        """Threads that the block may use."""
        return max(1, int(self.cpus))


def divide(clients: int, blocks: int) -> tuple[tuple[int, ...], ...]:
    """Divide clients 0, 1, … into blocks of neighbours, of sizes that differ by one at most."""
    bounds = [clients * number // blocks for number in range(blocks + 1)]
    return tuple(tuple(range(first, end)) for first, end in pairwise(bounds))


def number_of_blocks(clients: int, block_clients: int | None, nodes: Sequence[Node], *, on_gpus: bool) -> int:
    """Return how many blocks there are: of ``block_clients`` clients, or one for every GPU or processor."""
    if block_clients is not None:
        return -(-clients // block_clients)
    units = sum(int(node.gpus if on_gpus else node.cpus) for node in nodes)
    return max(1, min(clients, units))


def largest_share(offers: Sequence[float], blocks: int) -> float:
    """Return the largest equal share of processors (or GPUs) with which all blocks find a place.

    A share above one is whole, and one below is 1/m, because only then no part of a processor is left over.
    """
    for whole in range(int(max(offers, default=0)), 0, -1):
        if sum(int(offer // whole) for offer in offers) >= blocks:
            return float(whole)
    units = sum(int(offer) for offer in offers)
    return 1 / -(-blocks // units) if units else 0.0


def fits(nodes: Sequence[Node], blocks: int, memory: int) -> bool:
    """Say whether the machines' memory holds all blocks of ``memory`` bytes each."""
    return memory <= 0 or sum(int(node.memory // memory) for node in nodes) >= blocks


def write_layout(folder: Path, blocks: Sequence[Sequence[int]]) -> None:
    """Write how clients are divided into the run's folder, for when the run goes on."""
    first = [block[0] for block in blocks]
    text = json.dumps({"clients": sum(map(len, blocks)), "first": first}) + "\n"
    write_text(folder / BLOCKS, text)


def read_layout(folder: Path, clients: int) -> tuple[tuple[int, ...], ...] | None:
    """Return how clients were divided when the run began; None if it never did.

    Raises
    ------
    UsageError
        If the file is damaged or of another number of clients.
    """
    path = folder / BLOCKS
    try:
        told = read_object(path)
        if told is None:
            return None
        first = [int(client) for client in told["first"]]
        known = int(told["clients"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError("run", path, f"is damaged ({error})", "train again") from error
    if known != clients or first[:1] != [0] or first != sorted({*first}) or first[-1] >= clients:
        raise UsageError("run", path, "does not divide this run's clients", "train again")
    return tuple(tuple(range(start, end)) for start, end in zip(first, [*first[1:], clients], strict=True))
