"""One optimizer for many copies of a segment, each copy with an optimizer state of its own.

One ``torch.optim`` optimizer holds every row of every stacked weight as a parameter of its own, so a row that is
absent has no gradient and does not move, by torch's own rule, momentum and step count included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.optim import OptimizerSpec, give_gradients, set_rate
from sglr.core.types import Weights

UPDATE_BYTES = 1 << 26
"""Rows step in groups of so many bytes: a gradient that must be copied into its weight's layout is not there twice."""


class RowOptimizer:
    """The optimizer of every row.

    Parameters
    ----------
    names
        The names of the parameters of a row.
    rows
        Every row's parameters, in the order of ``names``.
    spec
        Which optimizer.
    clip_norm
        Largest norm of one row's gradient, or None.
    """

    def __init__(
        self,
        names: Sequence[str],
        rows: Sequence[tuple[nn.Parameter, ...]],
        spec: OptimizerSpec,
        clip_norm: float | None,
    ) -> None:
        self.names, self.rows, self.clip_norm = tuple(names), rows, clip_norm
        everything: list[Any] = list(chain.from_iterable(rows))
        if spec.name == "sgd":
            # torch's fused SGD fails on a group of which only some parameters have momentum yet (late clients).
            everything = [{"params": own} for own in rows if own]
        self.optimizer = spec.build(everything, 0.0) if everything else None

    def step(self, rows: tuple[int, ...], gradients: Sequence[Tensor], rate: float) -> None:
        """Let the chosen rows take one step at ``rate``, given gradients per parameter ``[n, ...]``."""
        if self.optimizer is None:
            return
        if self.clip_norm is not None:
            gradients = clip_rows(gradients, self.clip_norm)
        set_rate(self.optimizer, rate)
        bytes_per_row = sum(gradient[0].numel() * gradient.element_size() for gradient in gradients)
        height = max(1, UPDATE_BYTES // bytes_per_row)
        for start in range(0, len(rows), height):
            part = slice(start, start + height)
            for position, gradient in enumerate(gradients):
                own = [self.rows[row][position] for row in rows[part]]
                give_gradients(own, gradient[part].contiguous().unbind())
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Gather the state: per entry the rows that have one, stacked, and which rows these are."""
        if self.optimizer is None:
            return {}
        tensors: dict[str, Tensor] = {}
        for position, name in enumerate(self.names):
            states = {row: self.optimizer.state.get(own[position]) for row, own in enumerate(self.rows)}
            present = {row: state for row, state in states.items() if state}
            if not present:
                continue
            tensors[f"{name}.rows"] = torch.tensor(list(present))
            for entry, example in next(iter(present.values())).items():
                if example is not None:
                    values = [torch.as_tensor(state[entry]) for state in present.values()]
                    tensors[f"{name}.{entry}"] = torch.stack(values)
        return tensors

    def restore(self, tensors: Weights) -> None:
        """Take up what `state` returned."""
        if self.optimizer is None:
            return
        self.optimizer.state.clear()
        for position, name in enumerate(self.names):
            entries = _below(f"{name}.", tensors)
            rows = entries.pop("rows", torch.tensor([], dtype=torch.int64)).tolist()
            for place, row in enumerate(rows):
                own = self.rows[row][position]
                # Step counts stay where torch expects them, beside the parameter.
                state = {entry: values[place].clone().to(own.device) for entry, values in entries.items()}
                self.optimizer.state[own] = state


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries of one parameter: those of ``prefix`` followed by a name without dots."""
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return {entry: value for entry, value in own.items() if "." not in entry}


def clip_rows(gradients: Sequence[Tensor], clip_norm: float) -> list[Tensor]:
    """Scale each row's gradient, over all its parameters ``[n, ...]``, to a norm of at most ``clip_norm``."""
    squares = sum(gradient.flatten(1).square().sum(1) for gradient in gradients)
    norms = torch.sqrt(torch.as_tensor(squares))
    factors = (clip_norm / (norms + 1e-6)).clamp(max=1.0)
    return [gradient * factors.reshape(-1, *(1,) * (gradient.dim() - 1)) for gradient in gradients]
