"""A block of clients in a process of the cluster: what the engine asks of it, with arrays in and out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sglr.core.data import ClientData, Samples, select
from sglr.core.random import key, seed_layers
from sglr.engines.ray.object_store import (
    SentArray,
    SentInputs,
    receive,
    receive_all,
    receive_inputs,
    send,
    send_all,
    send_inputs,
)
from sglr.parties.client_block import ClientBlock
from sglr.parties.local_epoch import Among
from sglr.parties.spec import ClientSpec
from sglr.system.allocator import keep_freed_memory


class Owned(NamedTuple):
    """What a block's clients own: their samples, one client's after the other's, and how many each has."""

    ids: tuple[int, ...]
    inputs: SentInputs
    targets: SentArray
    sizes: tuple[int, ...]


class Smashed(NamedTuple):
    """What the clients of a block send in one step; as in `sglr.core.types.Uplink`."""

    smashed: SentArray
    labels: SentArray | None
    clients: tuple[int, ...]
    sizes: tuple[int, ...]


class SentGradients(NamedTuple):
    """What the clients of a block receive in one step.

    Parameters
    ----------
    own
        Rows ``[n, b, ...]`` of those who get gradients of their own; None if nobody does.
    active
        Places, among the clients that went forward, of those who get the average instead.
    """

    own: SentArray | None
    active: tuple[int, ...]


class Answered(NamedTuple):
    """What the clients of a block answer to features; as in `sglr.core.types.Answer`."""

    gradients: SentArray
    loss: SentArray
    correct: SentArray
    sizes: tuple[int, ...]


class Scored(NamedTuple):
    """The mean loss of every client that was asked for, ``[n]``, and the sums of each part of the samples, by name."""

    loss: NDArray[np.float64]
    parts: tuple[Mapping[str, SentArray], ...]


class BlockWorker:
    """Clients in a process of the cluster.

    It carries out calls one after another, in the order in which the engine makes them. Making it does nothing, so
    that whatever goes wrong in `build` is an error of that call and not the end of the process.
    """

    def ready(self) -> int:
        """Answer with the process's id, which says that it runs."""
        return os.getpid()

    def build(self, spec: ClientSpec, owned: Owned, threads: int) -> None:
        """Make the block with its first weights.

        Parameters
        ----------
        spec
            What all blocks have in common; its data are empty.
        owned
            The block's clients and their samples.
        threads
            Threads that it may use.
        """
        torch.set_num_threads(threads)
        if spec.device.type == "cpu":
            keep_freed_memory()
        self._seed = spec.seed
        self._block = block_of(spec, owned)

    def begin_epoch(
        self, cohort: tuple[int, ...], epoch: int, first: int, fresh: bool, among: Among | None = None
    ) -> None:
        """Prepare the pass of the block's part of a cohort that begins with client ``first``.

        ``among`` says which part it is, where batches depend on the whole cohort.
        """
        self._pass = (epoch, first, self._block.ids[0])
        self._block.begin_epoch(cohort, epoch, fresh=fresh, among=among)

    def step_alone(self, step: int, rate: float) -> None:
        """Let the clients that have a batch in this step train by their heads."""
        self._seed_layers(step)
        self._block.step_alone(step, rate)

    def _seed_layers(self, step: int) -> None:
        epoch, cohort, block = self._pass
        seed_layers(key(self._seed, "layers", epoch, cohort, step, block))

    def forward(self, step: int) -> Smashed | None:
        """Run the clients that have a batch in this step."""
        self._seed_layers(step)
        uplink = self._uplink = self._block.forward(step)
        if uplink is None:
            return None
        labels = None if uplink.told is None else send(uplink.told)
        return Smashed(send(uplink.smashed), labels, uplink.clients, uplink.sizes)

    def answer(self, features: SentArray, clients: tuple[int, ...]) -> Answered:
        """Let clients of the last `forward` find their loss at the server's features."""
        # A copy: what is in the store is shared, and can't be written to.
        found = self._block.answer(receive(features).to(self._block.device).clone(), clients)
        return Answered(send(found.gradients), send(found.loss), send(found.correct), found.sizes)

    def backward(self, gradients: SentGradients, average: SentArray | None, rate: float, updates: bool) -> None:
        """Back-propagate what the clients receive, and step; ``average`` ``[b, ...]`` is that of the active ones."""
        assert self._uplink is not None, "there was a forward pass"
        sizes, own = self._uplink.sizes, None if gradients.own is None else receive(gradients.own)
        if own is None or gradients.active:
            assert average is not None, "somebody is active"
            shared = receive(average)
            longest = max(sizes)
            joined = shared.new_zeros(len(sizes), longest, *shared.shape[1:])
            others = [place for place in range(len(sizes)) if place not in gradients.active]
            if own is not None:
                joined[others] = own[:, :longest]
            for place in gradients.active:
                joined[place, : sizes[place]] = shared[: sizes[place]]
            own = joined
        self._block.backward(own.to(self._block.device), rate, updates=updates)

    def backward_alone(self, rate: float, updates: bool) -> None:
        """Back-propagate the loss of the clients' heads, and step."""
        self._block.backward(None, rate, updates=updates)

    def collect(self, clients: Sequence[int]) -> dict[str, SentArray]:
        """Return the clients' weights and buffers ``[n, ...]``."""
        return send_all(self._block.collect(clients))

    def publish(self, weights: Mapping[str, SentArray], clients: Sequence[int]) -> None:
        """Give the clients the same weights and buffers ``[...]``, which each mixes with a share of its own."""
        self._block.publish(receive_all(weights), clients)

    def give(self, weights: Mapping[str, SentArray], clients: Sequence[int]) -> None:
        """Set some of the clients' weights and buffers, each to its own ``[n, ...]``."""
        self._block.give(receive_all(weights), clients)

    def evaluate(
        self,
        server: nn.Module,
        inputs: SentInputs,
        targets: SentArray,
        clients: tuple[int, ...],
        shared: Mapping[str, SentArray] | None,
        parts: int,
    ) -> Scored:
        """Score clients, or weights that they share, on the same samples."""
        found = self._block.evaluate(
            server.to(self._block.device),
            Samples(receive_inputs(inputs), receive(targets)),
            clients,
            None if shared is None else receive_all(shared),
            parts,
        )
        return Scored(found.loss.numpy(), tuple(map(send_all, found.parts)))

    def digests(self) -> list[str]:
        """Return the SHA-256 of every client's weights and buffers."""
        return self._block.digests()

    def state(self) -> dict[str, SentArray]:
        """Return weights, buffers and optimizer state of the block."""
        return send_all(self._block.state())

    def restore(self, tensors: Mapping[str, SentArray]) -> None:
        """Take up what `state` returned."""
        self._block.restore(receive_all(tensors))


def block_of(spec: ClientSpec, owned: Owned) -> ClientBlock:
    """Return the block of ``owned``, whose clients draw the same numbers as they do among all."""
    train = Samples(receive_inputs(owned.inputs), receive(owned.targets))
    rows = torch.split(torch.arange(len(train)), list(owned.sizes))
    data = dataclasses.replace(spec.data, train=train, indices=tuple(rows))
    return ClientBlock(dataclasses.replace(spec, data=data), owned.ids)


def owned_by(data: ClientData, ids: Sequence[int]) -> Owned:
    """Return what some clients own, ready to be sent."""
    rows = torch.cat([data.indices[client] for client in ids])
    sizes = tuple(len(data.indices[client]) for client in ids)
    return Owned(tuple(ids), send_inputs(select(data.train.inputs, rows)), send(data.train.targets[rows]), sizes)


def without_data(spec: ClientSpec) -> ClientSpec:
    """Return the setting as every block needs it, with no samples in it."""
    nothing = Samples(spec.data.train.inputs[:0].clone(), spec.data.train.targets[:0].clone())
    empty = ClientData(nothing, (), None, nothing, spec.data.targets)
    return dataclasses.replace(spec, data=empty)
