"""The server in a process of the cluster: what the engine asks of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sglr.core.random import seed_layers
from sglr.core.server_protocol import Server
from sglr.core.types import StepContext, Uplink
from sglr.engines.ray.object_store import SentArray, receive, receive_all, send, send_all
from sglr.engines.ray.packing import pack, unpack
from sglr.engines.ray.worker import Smashed
from sglr.system.allocator import keep_freed_memory


class Order(NamedTuple):
    """What a step needs to know beside what the clients sent.

    Parameters
    ----------
    call
        ``"learn"`` or ``"learn_copies"``.
    context, numbers
        Its arguments behind the uplink: the rate, and the weight of the loss where there is one.
    seed
        Of torch's generator, for layers that draw random numbers.
    """

    call: str
    context: StepContext
    numbers: tuple[float, ...]
    seed: int


class Learnt(NamedTuple):
    """The cut-layer gradients of a step, and the first step of the epoch whose loss was not a number."""

    gradients: SentArray
    bad_step: int | None


class Asked(NamedTuple):
    """A call of one of the server's methods, with packed arguments and the seed of torch's generator."""

    call: str
    arguments: tuple[Any, ...]
    seed: int


class Told(NamedTuple):
    """What it returned, packed, and the first step of the epoch whose loss was not a number."""

    value: Any
    bad_step: int | None


class ServerPlacement(NamedTuple):
    """What the server's process is given, and what it asks the cluster for.

    Parameters
    ----------
    make
        Makes the server on a device.
    device
        Where it computes.
    threads
        Threads that it may use; None is all processors of its machine.
    gpus
        Its share of a GPU.
    """

    make: Callable[[torch.device], Server]
    device: torch.device
    threads: int | None
    gpus: float


class ServerWorker:
    """The server in a process of the cluster; it carries out calls in the order in which they are made."""

    def ready(self) -> int:
        """Answer with the process's id, which says that it runs."""
        return os.getpid()

    def build(self, placement: ServerPlacement) -> None:
        """Make the server with its first weights."""
        torch.set_num_threads(placement.threads or os.cpu_count() or 1)
        if placement.device.type == "cpu":
            keep_freed_memory()
        self._device, self._server = placement.device, placement.make(placement.device)

    def step(self, order: Order, sent: Smashed) -> Learnt:
        """Let the server learn from what the clients sent."""
        server = self._server
        seed_layers(order.seed)
        assert sent.labels is not None, "a server in the cluster has the labels"
        smashed, labels = receive(sent.smashed).to(self._device), receive(sent.labels).to(self._device)
        uplink = Uplink(smashed, labels, sent.clients, sent.sizes)
        gradients: Tensor = getattr(server, order.call)(uplink, order.context, *order.numbers)
        return Learnt(send(gradients), server.bad_step())

    def carry_out(self, order: Asked) -> Told:
        """Call one of the server's methods that take or return tensors of the device."""
        seed_layers(order.seed)
        arguments = [unpack(one, self._device) for one in order.arguments]
        return Told(pack(getattr(self._server, order.call)(*arguments)), self._server.bad_step())

    def call(self, name: str, *arguments: Any) -> Any:
        """Call one of the server's methods that take and return no tensors of the device."""
        return getattr(self._server, name)(*arguments)

    def state(self) -> dict[str, SentArray]:
        """Return all that a checkpoint needs."""
        return send_all(self._server.state())

    def restore(self, tensors: Mapping[str, SentArray]) -> None:
        """Take up what `state` returned."""
        self._server.restore(receive_all(tensors))
