"""Clients' heads that the server aligns with its own gradients, on the uploads that it kept (FSL-SAGE).

Nair, Lin, Ju, Talebi, Bentley, Liu: *FSL-SAGE: Accelerating Federated Split Learning via Smashed Activation Gradient
Estimation* (arXiv 2505.23182).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sglr.core.optim import OptimizerSpec
from sglr.core.task import Task
from sglr.core.types import HandOut, Uplink
from sglr.core.weights import HEAD, Weights, below

RATE = 1e-3
"""The rate of Adam, by which heads are aligned."""


Gradients = Callable[[Uplink, Tensor | None], Tensor]
"""Cut gradients of what clients sent, with what is added to the logits of its N samples, ``[N, K]``."""


class Kept(NamedTuple):
    """What is kept of a client: ``[n, ...]`` each."""

    smashed: Tensor
    targets: Tensor


class AlignedHeads:
    """The heads of all clients as the server last sent them, and the newest uploads of each.

    Parameters
    ----------
    head
        The head that every client begins with; its weights are buffers, as `sglr.splitting.heads.given_head` has it.
    task
        What is learned.
    device
        Where the server is.

    Notes
    -----
    What is kept of a client is a ring: an upload takes the place of the oldest. It is allocated with the first. Adam's
    moments go on from one alignment of a head to the next.
    """

    def __init__(self, head: nn.Module, task: Task, device: torch.device) -> None:
        self._head, self._task, self._device = copy.deepcopy(head).to(device), task, device
        self._heads: dict[int, dict[str, Tensor]] = {}
        self._kept: dict[int, dict[str, Tensor]] = {}
        self._moments: dict[int, dict[str, Tensor]] = {}
        self._seen: dict[int, int] = {}

    def remember(self, uplink: Uplink, most: int) -> None:
        """Keep the newest ``most`` samples of every client, those of ``uplink`` among them."""
        for row, (client, size) in enumerate(zip(uplink.clients, uplink.sizes, strict=True)):
            new = {"smashed": uplink.smashed[row, :size], "targets": uplink.labels[row, :size]}
            ring = self._kept.setdefault(client, {})
            seen = self._seen.get(client, 0)
            # Of a batch larger than the ring only the newest fit.
            places = torch.arange(max(seen, seen + size - most), seen + size) % most
            for name, values in new.items():
                if name not in ring:
                    ring[name] = values.new_zeros(most, *values.shape[1:])
                ring[name][places] = values[-len(places) :].detach()
            self._seen[client] = seen + size

    def align(
        self, clients: tuple[int, ...], epochs: int, gradients: Gradients, prior: Callable[[int], Tensor | None]
    ) -> HandOut | None:
        """Align the heads of those ``clients`` that uploads are kept of, and return them; None if there are none.

        Parameters
        ----------
        clients
            Who is to get a head.
        epochs
            Steps of Adam, each on all that is kept of a client.
        gradients
            The server's cut gradients ``[1, n, ...]`` of the mean loss of what a client uploaded, at the weights that
            it has now, given what is added to the logits ``[n, K]``.
        prior
            The log label prior ``[K]`` of a client, where it is corrected.
        """
        known = tuple(client for client in clients if client in self._kept)
        for client in known:
            kept = smashed, targets = self._samples(client)
            added = prior(client)
            each = None if added is None else added.expand(len(targets), -1)
            told = gradients(Uplink(smashed[None], targets[None], (client,), (len(targets),)), each)
            # Of each sample's own loss, so that sizes don't change with the number of samples.
            wanted = told[0] * len(targets)
            self._heads[client] = self._aligned(client, kept, wanted, added, epochs)
        if not known:
            return None
        names = self._heads[known[0]]
        weights = {f"{HEAD}{name}": torch.stack([self._heads[one][name] for one in known]) for name in names}
        return HandOut(known, weights)

    def _samples(self, client: int) -> Kept:
        ring = self._kept[client]
        count = min(self._seen[client], len(ring["targets"]))
        return Kept(ring["smashed"][:count], ring["targets"][:count])

    def _head_of(self, client: int) -> dict[str, Tensor]:
        return self._heads.get(client) or {name: tensor.clone() for name, tensor in self._head.named_buffers()}

    def _aligned(self, client: int, kept: Kept, wanted: Tensor, added: Tensor | None, epochs: int) -> dict[str, Tensor]:
        """Return weights of a head whose gradients ``[n, ...]`` at what is kept are closer to those ``wanted``."""
        weights = {name: nn.Parameter(tensor.clone()) for name, tensor in self._head_of(client).items()}
        optimizer = self._optimizer(client, weights)
        inputs = kept.smashed.detach().requires_grad_()
        for _ in range(epochs):
            outputs = functional_call(self._head, dict[str, Tensor](weights), (inputs,))
            shifted = outputs if added is None else outputs + self._task.prior_shift(added)
            losses = self._task.losses(shifted, kept.targets)
            (found,) = torch.autograd.grad(losses.sum(), inputs, create_graph=True)
            distance = (found - wanted).square().sum()
            steps = torch.autograd.grad(distance, list(weights.values()), allow_unused=True, materialize_grads=True)
            for weight, step in zip(weights.values(), steps, strict=True):
                weight.grad = step
            optimizer.step()
        self._moments[client] = {
            f"{name}.{key}": value for name, weight in weights.items() for key, value in optimizer.state[weight].items()
        }
        return {name: tensor.detach() for name, tensor in weights.items()}

    def _optimizer(self, client: int, weights: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
        """Return Adam with the moments that it had when a client's head was aligned last, if it was."""
        optimizer = OptimizerSpec("adam").build(weights.values(), RATE)
        moments = self._moments.get(client)
        if moments:
            state = {place: below(f"{name}.", moments) for place, name in enumerate(weights)}
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return optimizer

    def state(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint needs, by name."""
        tensors = {
            f"kept.{client}.{name}": tensor for client, ring in self._kept.items() for name, tensor in ring.items()
        }
        tensors |= {f"seen.{client}": torch.tensor(count) for client, count in self._seen.items()}
        for prefix, held in (("head", self._heads), ("moments", self._moments)):
            tensors |= {f"{prefix}.{client}.{name}": one for client, own in held.items() for name, one in own.items()}
        return tensors

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        self._seen = {int(client): int(count) for client, count in below("seen.", tensors).items()}
        self._kept, self._heads, self._moments = {}, {}, {}
        for held, prefix in ((self._kept, "kept."), (self._heads, "head."), (self._moments, "moments.")):
            for place, tensor in below(prefix, tensors).items():
                client, _, name = place.partition(".")
                held.setdefault(int(client), {})[name] = tensor.to(self._device, copy=True)
