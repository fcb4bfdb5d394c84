"""Copies of one segment side by side: the lower segments of clients, or a server's copy for each client.

Every weight is one tensor with a leading axis R (rows, one per copy). A pass runs the chosen rows either
*stacked*, as one call through ``torch.func.vmap``, or *looped*, one call per row; both give the same numbers.
Under vmap the copies are the second axis, ``[b, R, ...]``: the rule of a convolution is then a view and one
grouped convolution, without moving memory, and the channels-last layout survives it.

Each copy has its own optimizer state. One ``torch.optim`` optimizer holds every row as a parameter of its own, so
a row that is absent has no gradient and does not move, by torch's own rule, momentum and step count included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim import Optimizer

from sglr.core.optim import OptimizerSpec, give_gradients, set_rate
from sglr.core.stacked_layers import stacked_layers
from sglr.core.types import Weights

UPDATE_BYTES = 1 << 26
"""Rows step in groups of so many bytes: a gradient that must be copied into its weight's layout is not there twice."""


@dataclass(frozen=True)
class Pass:
    """A forward pass of some rows, kept for the backward pass.

    Parameters
    ----------
    rows
        The rows that ran, n of them.
    outputs
        ``[n, b, ...]``, with its graph.
    leaves
        Tensors to differentiate by: per parameter, stacked ``[n, ...]``; looped, each row's in turn.
    """

    rows: tuple[int, ...]
    outputs: Tensor
    leaves: tuple[Tensor, ...]


class Stack:
    """Copies of one segment, with their optimizers.

    Parameters
    ----------
    segments
        The copies with their first weights; all of one architecture.
    optimizer
        The optimizer of every copy.
    clip_norm
        Largest norm of one copy's gradient, or None.
    stacked
        Run copies as one call (True) or one after another (False).
    device
        Where weights live.
    """

    def __init__(
        self,
        segments: Iterable[nn.Module],
        optimizer: OptimizerSpec,
        *,
        clip_norm: float | None,
        stacked: bool,
        device: torch.device,
    ) -> None:
        copies = iter(segments)
        self.template = next(copies)
        states = [_state_of(module) for module in chain([self.template], copies)]
        self.template.to("meta")
        names = [name for name, _ in self.template.named_parameters()]
        tensors = {name: torch.stack([state.pop(name) for state in states]) for name in list(states[0])}
        self.parameters = {name: tensors.pop(name).to(device).requires_grad_() for name in names}
        self.buffers = {name: tensor.to(device) for name, tensor in tensors.items()}
        self.rows = len(states)
        self.clip_norm = clip_norm
        self.stacked = stacked and bool(self.parameters or self.buffers)  # vmap needs a weight or a buffer to map over
        self._spec = optimizer
        self._split_rows()

    def _split_rows(self) -> None:
        """View every row of every weight as a parameter of its own, without copying."""
        views = [tensor.detach().unbind() for tensor in self.parameters.values()]
        self._row_parameters = [tuple(nn.Parameter(view) for view in row) for row in zip(*views, strict=True)]
        if not views:
            self._row_parameters = [()] * self.rows
        everything: list[Any] = list(chain.from_iterable(self._row_parameters))
        if self._spec.name == "sgd":
            # torch's fused SGD fails on a group of which only some parameters have momentum yet (late clients).
            everything = [{"params": own} for own in self._row_parameters if own]
        self.optimizer = self._spec.build(everything, 0.0) if everything else None

    def forward(self, rows: tuple[int, ...], inputs: Tensor) -> Pass:
        """Run the chosen rows in training mode.

        Parameters
        ----------
        rows
            Rows to run, n of them, ascending.
        inputs
            ``[n, b, ...]``: every sample real, since padding would reach batch statistics.

        Returns
        -------
        Pass
            Outputs ``[n, b, ...]`` and what `backward` needs.
        """
        self.template.train()
        return self._forward_stacked(rows, inputs) if self._stacks(rows) else self._forward_looped(rows, inputs)

    def _stacks(self, rows: Sequence[int]) -> bool:
        return self.stacked and len(rows) > 1

    def _forward_stacked(self, rows: tuple[int, ...], inputs: Tensor) -> Pass:
        weights = self._take(self.parameters, rows)
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in weights.items()}
        buffers = self._take(self.buffers, rows)
        outputs, moved = self._vmapped(leaves, buffers, inputs.transpose(0, 1), shared_input=False)
        with torch.no_grad():
            index = list(rows)
            for name, tensor in moved.items():
                self.buffers[name][index] = tensor
        return Pass(rows, outputs.transpose(0, 1), tuple(leaves.values()))

    def _vmapped(
        self, weights: Weights, buffers: Weights, inputs: Tensor, *, shared_input: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Run copies as one call: inputs ``[b, n, ...]``, or ``[b, ...]`` when all copies share them."""

        def run(weights: Weights, buffers: Weights, sample: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            # Layers update buffers in place, which vmap forbids for captured tensors: clone, then return them.
            own = {name: tensor.clone() for name, tensor in buffers.items()}
            return functional_call(self.template, {**weights, **own}, (sample,)), own

        in_dims = (0, 0, None if shared_input else 1)
        mapped = vmap(run, in_dims=in_dims, out_dims=(1, 0), randomness="different")
        with stacked_layers():
            return mapped(dict(weights), dict(buffers), inputs)

    def _forward_looped(self, rows: tuple[int, ...], inputs: Tensor) -> Pass:
        outputs = [self._call(row, sample) for row, sample in zip(rows, inputs, strict=True)]
        leaves = tuple(chain.from_iterable(self._row_parameters[row] for row in rows))
        return Pass(rows, torch.stack(outputs), leaves)

    def _call(self, row: int, inputs: Tensor) -> Tensor:
        weights: dict[str, Tensor] = dict(zip(self.parameters, self._row_parameters[row], strict=True))
        # Layers keep their buffers for the backward pass, before which another row may change the stack of them.
        own = {name: tensor[row].clone() for name, tensor in self.buffers.items()}
        outputs = cast(Tensor, functional_call(self.template, {**weights, **own}, (inputs,)))
        for name, tensor in own.items():
            self.buffers[name][row] = tensor
        return outputs

    def backward(self, forward: Pass, loss_gradients: Tensor) -> list[Tensor]:
        """Return the gradients of a pass's weights, per parameter ``[n, ...]``.

        Parameters
        ----------
        forward
            The pass.
        loss_gradients
            Gradients of each row's own loss by its outputs, ``[n, b, ...]``.
        """
        if not forward.leaves:
            return []
        # In the outputs' own layout: layers that get it in another copy it again and again.
        arrived = torch.empty_like(forward.outputs).copy_(loss_gradients)
        found = torch.autograd.grad(forward.outputs, forward.leaves, arrived, allow_unused=True, materialize_grads=True)
        return self.by_parameter(forward, found)

    def by_parameter(self, forward: Pass, found: Sequence[Tensor]) -> list[Tensor]:
        """Order gradients by the leaves of a pass as one tensor ``[n, ...]`` per parameter."""
        if self._stacks(forward.rows):
            return list(found)
        width = len(self.parameters)
        return [torch.stack(list(found[start::width])) for start in range(width)]

    def update(self, rows: tuple[int, ...], gradients: Sequence[Tensor], rate: float) -> None:
        """Let the chosen rows take one step of their optimizers; no other row moves.

        Parameters
        ----------
        rows
            Rows that step, n of them.
        gradients
            Per parameter ``[n, ...]``.
        rate
            The learning rate.
        """
        if self.optimizer is None:
            return
        if self.clip_norm is not None:
            gradients = clip_rows(gradients, self.clip_norm)
        set_rate(self.optimizer, rate)
        bytes_per_row = sum(gradient[0].numel() * gradient.element_size() for gradient in gradients)
        height = max(1, UPDATE_BYTES // bytes_per_row)
        for start in range(0, len(rows), height):
            part = slice(start, start + height)
            self._update(self.optimizer, rows[part], [gradient[part] for gradient in gradients])

    def _update(self, optimizer: Optimizer, rows: tuple[int, ...], gradients: Sequence[Tensor]) -> None:
        for position, gradient in enumerate(gradients):
            own = [self._row_parameters[row][position] for row in rows]
            give_gradients(own, gradient.contiguous().unbind())
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def predict(self, rows: tuple[int, ...], inputs: Tensor) -> Tensor:
        """Run the chosen rows in evaluation mode on the same inputs ``[m, ...]``; returns ``[n, m, ...]``."""
        self.template.eval()
        with torch.no_grad():
            if not self._stacks(rows):
                return torch.stack([self._call(row, inputs) for row in rows])
            weights, buffers = self._take(self.parameters, rows), self._take(self.buffers, rows)
            outputs, _ = self._vmapped(weights, buffers, inputs, shared_input=True)
            return outputs.transpose(0, 1)

    def weights(self, rows: tuple[int, ...]) -> dict[str, Tensor]:
        """Return a copy of the chosen rows' weights and buffers, each ``[n, ...]``."""
        index = list(rows)
        return {name: tensor.detach()[index] for name, tensor in self._everything().items()}

    def load(self, rows: tuple[int, ...], weights: Weights) -> None:
        """Set the weights and buffers of the chosen rows, all to the same values ``[...]``."""
        index = list(rows)
        with torch.no_grad():
            for name, tensor in self._everything().items():
                tensor[index] = weights[name].to(tensor.device)

    def _everything(self) -> dict[str, Tensor]:
        return {**self.parameters, **self.buffers}

    def _take(self, tensors: Mapping[str, Tensor], rows: tuple[int, ...]) -> dict[str, Tensor]:
        if len(rows) == self.rows:
            return {name: tensor.detach() for name, tensor in tensors.items()}
        index = list(rows)
        return {name: tensor.detach()[index] for name, tensor in tensors.items()}

    def state(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint needs: weights, buffers and optimizer state, by name."""
        tensors = {f"weights.{name}": tensor.detach() for name, tensor in self._everything().items()}
        return tensors | self._optimizer_state()

    def _optimizer_state(self) -> dict[str, Tensor]:
        """Gather the optimizer's state: per entry the rows that have one, stacked, and which rows these are."""
        if self.optimizer is None:
            return {}
        tensors: dict[str, Tensor] = {}
        for position, name in enumerate(self.parameters):
            states = {row: self.optimizer.state.get(own[position]) for row, own in enumerate(self._row_parameters)}
            present = {row: state for row, state in states.items() if state}
            if not present:
                continue
            tensors[f"optimizer.{name}.rows"] = torch.tensor(list(present))
            for entry, example in next(iter(present.values())).items():
                if example is not None:
                    values = [torch.as_tensor(state[entry]) for state in present.values()]
                    tensors[f"optimizer.{name}.{entry}"] = torch.stack(values)
        return tensors

    def restore(self, tensors: Weights) -> None:
        """Take up what `state` returned."""
        with torch.no_grad():
            for name, tensor in self._everything().items():
                tensor.copy_(tensors[f"weights.{name}"])
        if self.optimizer is None:
            return
        self.optimizer.state.clear()
        for position, name in enumerate(self.parameters):
            prefix = f"optimizer.{name}."
            entries = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            rows = entries.pop("rows", torch.tensor([], dtype=torch.int64)).tolist()
            for place, row in enumerate(rows):
                own = self._row_parameters[row][position]
                state = {entry: _placed(values[place], own) for entry, values in entries.items()}
                self.optimizer.state[own] = state


def _placed(value: Tensor, parameter: Tensor) -> Tensor:
    """Copy one entry of optimizer state; step counts stay where torch expects them, beside the parameter."""
    return value.clone().to(parameter.device)


def _state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in chain(module.named_parameters(), module.named_buffers())}


def clip_rows(gradients: Sequence[Tensor], clip_norm: float) -> list[Tensor]:
    """Scale each row's gradient, over all its parameters ``[n, ...]``, to a norm of at most ``clip_norm``."""
    squares = sum(gradient.flatten(1).square().sum(1) for gradient in gradients)
    norms = torch.sqrt(torch.as_tensor(squares))
    factors = (clip_norm / (norms + 1e-6)).clamp(max=1.0)
    return [gradient * factors.reshape(-1, *(1,) * (gradient.dim() - 1)) for gradient in gradients]
