"""How a run's clients are spread over a cluster: blocks, what each asks for, and whether memory holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sglr.core.errors import UsageError
from sglr.engines.ray.layout import Node, Share, divide, fits, largest_share, number_of_blocks
from sglr.engines.ray.memory_profile import PROCESS, MemoryProfile

REMEDY = "give more or larger machines, fewer clients, a smaller --batch-size, or a cut nearer to the input"


@dataclass(frozen=True)
class Design:
    """Which clients are in each block, and what each block asks for."""

    blocks: tuple[tuple[int, ...], ...]
    share: Share
    on_gpus: bool

    def told(self, memory_profile: MemoryProfile) -> str:
        """Say in one line how clients are divided."""
        largest = max(map(len, self.blocks))
        unit, share = ("GPU", self.share.gpus) if self.on_gpus else ("processor", self.share.cpus)
        return (
            f"{len(self.blocks)} blocks of up to {largest} clients, {share:g} {unit}s each; a client takes "
            f"{in_bytes(memory_profile.each)}, a block up to {in_bytes(memory_profile.of(largest))}"
        )


def nodes_of(ray: Any) -> list[Node]:
    """Return what the machines of the cluster that are alive offer."""
    offered = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(own.get("CPU", 0.0), own.get("GPU", 0.0), own.get("memory", 0.0)) for own in offered]


def uses_gpus(device: str, nodes: Sequence[Node]) -> bool:
    """Say whether blocks live on GPUs: if asked for, or if it is left open and there are some.

    Raises
    ------
    UsageError
        If they are asked for and the cluster has none.
    """
    some = any(node.gpus >= 1 for node in nodes)
    if device.startswith("cuda") and not some:
        raise UsageError("device", device, "no machine of the cluster has a GPU", "give cpu, or start Ray where one is")
    return some and device != "cpu"


def design(
    nodes: Sequence[Node],
    clients: int,
    block_clients: int | None,
    memory_profile: MemoryProfile,
    *,
    on_gpus: bool,
    blocks: tuple[tuple[int, ...], ...] | None = None,
) -> Design:
    """Divide the clients, unless they are in ``blocks`` already, and check that memory holds them.

    Raises
    ------
    UsageError
        If they don't fit: it names what a client needs and what there is.
    """
    if blocks is None:
        count = number_of_blocks(clients, block_clients, nodes, on_gpus=on_gpus)
        blocks = divide(clients, count)
    largest = max(map(len, blocks))
    part = largest_share([node.gpus if on_gpus else node.cpus for node in nodes], len(blocks))
    if part == 0:
        raise UsageError("ray_address", "the cluster", "it has no processor for clients", "add machines to it")
    if on_gpus:
        _check_gpu(memory_profile, largest, part)
        beside = largest_share([node.cpus for node in nodes], len(blocks))
        return Design(blocks, Share(min(1.0, beside), part, PROCESS), on_gpus=True)
    needed = memory_profile.of(largest)
    if not fits(nodes, len(blocks), needed):
        offered = sum(node.memory for node in nodes)
        problem = (
            f"{len(blocks)} blocks of up to {largest} clients need {in_bytes(needed)} each "
            f"({in_bytes(memory_profile.fixed)} and {in_bytes(memory_profile.each)} for every client), "
            f"and the cluster has {in_bytes(offered)} for them"
        )
        raise UsageError("block_clients", block_clients or largest, problem, REMEDY)
    return Design(blocks, Share(part, 0.0, needed), on_gpus=False)


def leave_room(design: Design, nodes: Sequence[Node]) -> tuple[Design, float]:
    """Return a design whose blocks leave a share of a GPU to the server's process, and that share.

    It is what a block would have got if there were one more of them, and nothing where blocks live on processors.
    """
    if not design.on_gpus:
        return design, 0.0
    part = largest_share([node.gpus for node in nodes], len(design.blocks) + 1)
    return replace(design, share=replace(design.share, gpus=part)), part


def _check_gpu(memory_profile: MemoryProfile, largest: int, part: float) -> None:
    free = memory_profile.free
    if free is None:
        return
    if memory_profile.of(1) > free:
        raise too_small_gpu(f"one client needs {in_bytes(memory_profile.of(1))}, and the GPU has {in_bytes(free)} free")
    together = memory_profile.of(largest) * max(1, round(1 / part))
    if together > free:
        problem = (
            f"blocks of one GPU need {in_bytes(together)} ({in_bytes(memory_profile.fixed)} a block and "
            f"{in_bytes(memory_profile.each)} a client), and it has {in_bytes(free)} free"
        )
        raise UsageError("block_clients", largest, problem, REMEDY)


def too_small_gpu(problem: str) -> UsageError:
    """Build the error for a GPU that can't hold a single client."""
    return UsageError("device", "cuda", problem, "give a smaller --batch-size, a cut nearer to the input, or cpu")


def in_bytes(number: float) -> str:
    """Return a number of bytes as a reader wants it."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f} bytes"
