"""How much memory a client takes: measured on two sizes of a real step, before blocks are sized."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from sglr.core.data import select
from sglr.engines.ray.object_store import receive, receive_inputs, send, send_inputs
from sglr.engines.ray.worker import Owned, block_of
from sglr.parties.client_block import ClientBlock
from sglr.parties.spec import ClientSpec

PROCESS = 600 << 20
"""Bytes of a process that has imported torch and holds no client."""

TEMPORARY = 1.5
"""Memory of a step over that of what its backward pass needs: gradients by activations live beside them."""

SIZES = (1, 3)
"""Numbers of clients that are measured on a GPU; a CPU's are computed from one."""


@dataclass(frozen=True)
class MemoryProfile:
    """Bytes of a block: ``fixed`` and ``each`` per client; ``free`` are those of the device that was asked."""

    fixed: int
    each: int
    free: int | None = None

    def of(self, clients: int) -> int:
        """Return the bytes of a block of ``clients``."""
        return self.fixed + clients * self.each


def measure(spec: ClientSpec, owned: Owned) -> MemoryProfile:
    """Return what a block takes, from a step of its first clients.

    Parameters
    ----------
    spec
        What all blocks have in common.
    owned
        As many clients as the larger of `SIZES`, or all there are.
    """
    if spec.device.type == "cuda":
        return _on_gpu(spec, owned)
    block = block_of(dataclasses.replace(spec, stacking="looped"), _first(owned, 1))
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        gradients = _step(block)
    state = sum(tensor.nbytes for tensor in block.state().values())
    # Weights are among what is saved, once; gradients of weights are as large again.
    passing = sum(saved.values()) + gradients
    inputs = receive_inputs(owned.inputs)
    samples = owned.targets.array.nbytes + (inputs.nbytes if isinstance(inputs, Tensor) else 0)
    each = samples // max(1, len(owned.ids))
    return MemoryProfile(PROCESS, int(2 * state + TEMPORARY * passing + each))


def _on_gpu(spec: ClientSpec, owned: Owned) -> MemoryProfile:
    peaks = []
    counts = [count for count in SIZES if count <= len(owned.ids)]
    for count in counts:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _step(block_of(spec, _first(owned, count)))
        peaks.append(torch.cuda.max_memory_allocated() - before)
    each = (peaks[-1] - peaks[0]) // (counts[-1] - counts[0]) if len(counts) > 1 else peaks[0]
    free, _ = torch.cuda.mem_get_info()
    return MemoryProfile(max(0, peaks[0] - each) + PROCESS, each, free)


def _step(block: ClientBlock) -> int:
    """Take a step with gradients of zero; return the bytes of the smashed data."""
    block.begin_epoch(block.ids, 0)
    uplink = block.forward(0)
    assert uplink is not None, "every client has samples"
    if block.stack.tail is not None:
        block.answer(block.stack.tail.some_inputs(*uplink.smashed.shape[:2]), uplink.clients)
    block.backward(torch.zeros_like(uplink.smashed) if block.stack.head is None else None, 0.0)
    return uplink.smashed.nbytes


def _first(owned: Owned, count: int) -> Owned:
    """Return the first clients of ``owned``."""
    samples = sum(owned.sizes[:count])
    inputs = send_inputs(select(receive_inputs(owned.inputs), torch.arange(samples)))
    targets = send(receive(owned.targets)[:samples])
    return Owned(owned.ids[:count], inputs, targets, owned.sizes[:count])
