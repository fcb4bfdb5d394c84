"""Weights on their way to be merged: their difference from the shared ones, in a code, with error feedback.

Clients and server both hold the weights that were shared last. A client sends Q(w − s + e): of every trained tensor its
difference from those, and what its code lost the last time, written by a codec; e is then what was lost this time. So
what a code loses of one merge is added in the next, and the sum of what arrives follows the sum of what was meant.
Buffers, such as batch statistics, are sent as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sglr.core.codec import Codec, Layout
from sglr.core.weights import Weights, below

Form = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
"""Type and shape of weights by name."""


@dataclass(frozen=True)
class DeltaCode:
    """Writes one client's weights as differences from shared ones.

    Parameters
    ----------
    codec
        How a difference is written: each tensor as one sample of it.
    trained
        Names of the tensors that are written so.
    """

    codec: Codec
    trained: Collection[str]

    def layout(self, weights: Form) -> Layout:
        """Return type and shape of every part of weights of a layout."""
        parts = Layout()
        for name, (dtype, shape) in weights.items():
            if name in self.trained:
                own = self.codec.layout((1, torch.Size(shape).numel()))
                parts |= {f"{name}.{part}": form for part, form in own.items()}
            else:
                parts[name] = dtype, shape
        return parts

    def encode(self, weights: Weights, shared: Weights, lost: Weights) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the parts of weights ``[...]``, and what they lose; ``lost`` is what was lost before."""
        parts, losing = dict[str, Tensor](), dict[str, Tensor]()
        for name, tensor in weights.items():
            if name not in self.trained:
                parts[name] = tensor
                continue
            wanted = tensor - shared[name].to(tensor.device)
            wanted = (wanted + lost[name].to(tensor.device) if name in lost else wanted).reshape(1, tensor.numel())
            own = self.codec.encode(wanted)
            parts |= {f"{name}.{part}": value for part, value in own.items()}
            losing[name] = (wanted - self.codec.decode(own, tuple(wanted.shape))).reshape(tensor.shape)
        return parts, losing

    def decode(self, parts: Weights, weights: Form, shared: Weights) -> dict[str, Tensor]:
        """Return weights ``[...]`` of a layout from their parts.

        Raises
        ------
        ValueError
            If the parts contradict themselves.
        """
        found = dict[str, Tensor]()
        for name, (_, shape) in weights.items():
            if name not in self.trained:
                found[name] = parts[name]
                continue
            size = 1, torch.Size(shape).numel()
            own = {part: parts[f"{name}.{part}"] for part in self.codec.layout(size)}
            found[name] = self.codec.decode(own, size).reshape(shape)
            found[name] = shared[name].to(found[name].device) + found[name]
        return found

    def bytes(self, weights: Weights) -> int:
        """Return the bytes of one client's weights."""
        parts = self.layout(layout_of(weights)).values()
        return sum(dtype.itemsize * torch.Size(shape).numel() for dtype, shape in parts)


def layout_of(weights: Weights) -> Layout:
    """Return type and shape of weights ``[...]``."""
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in weights.items()}


class DeltaChannels:
    """What is sent and remembered where clients and server are in one process.

    Parameters
    ----------
    code
        How weights are written; None sends them as they are.
    """

    def __init__(self, code: DeltaCode | None) -> None:
        self._code = code
        self._shared: dict[str, Tensor] = {}
        self._lost: dict[int, dict[str, Tensor]] = {}

    def published(self, weights: Weights) -> None:
        """Note the weights ``[...]`` that clients go on from."""
        if self._code is not None:
            self._shared = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def received(self, clients: Sequence[int], weights: Weights) -> dict[str, Tensor]:
        """Return the clients' weights ``[n, ...]`` as the server decodes them; what is not shared as it is."""
        if self._code is None:
            return dict(weights)
        merged = {name: tensor for name, tensor in weights.items() if name in self._shared}
        form = {name: (tensor.dtype, tuple(tensor.shape[1:])) for name, tensor in merged.items()}
        arrived = []
        for row, client in enumerate(clients):
            own = {name: tensor[row] for name, tensor in merged.items()}
            parts, self._lost[client] = self._code.encode(own, self._shared, self._lost.get(client, {}))
            arrived.append(self._code.decode(parts, form, self._shared))
        return {**weights, **{name: torch.stack([own[name] for own in arrived]) for name in merged}}

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs."""
        lost = {f"lost.{client}.{name}": own for client, all_ in self._lost.items() for name, own in all_.items()}
        return {f"shared.{name}": tensor for name, tensor in self._shared.items()} | lost

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        self.published(below("shared.", tensors))
        self._lost = {}
        for place, tensor in below("lost.", tensors).items():
            client, _, name = place.partition(".")
            self._lost.setdefault(int(client), {})[name] = tensor.clone()


class SentWeights:
    """What one client sends and remembers, in a process of its own.

    Parameters
    ----------
    code
        How weights are written; None sends them as they are.
    """

    def __init__(self, code: DeltaCode | None) -> None:
        self._code = code
        self._shared: dict[str, Tensor] = {}
        self._lost: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}
        self._at = -1

    def took_up(self, shared: Weights) -> None:
        """Note the weights ``[...]`` that this client goes on from."""
        if self._code is not None:
            self._shared = {name: tensor.detach().clone() for name, tensor in shared.items()}

    def parts(self, weights: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Return what is sent of weights ``[...]`` after so many steps; asked again, the same.

        Raises
        ------
        ValueError
            If no weights were shared yet.
        """
        if self._code is None:
            return dict(weights)
        if not self._shared:
            raise ValueError("no weights were shared that a difference could be from")
        if steps != self._at:
            self._before, self._at = self._lost, steps
        parts, self._lost = self._code.encode(weights, self._shared, self._before)
        return parts

    def state(self) -> dict[str, Tensor]:
        """Return what a snapshot needs."""
        return {f"shared.{name}": tensor for name, tensor in self._shared.items()} | {
            f"lost.{name}": tensor for name, tensor in self._lost.items()
        }

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        self._shared, self._lost = below("shared.", tensors), below("lost.", tensors)
        self._before, self._at = {}, -1
