"""One optimizer for many copies of a segment, each copy with an optimizer state of its own.

One ``torch.optim`` optimizer holds every stacked weight as one parameter as long as all rows step together: then all of
them have taken the same number of steps, and an optimizer that works number by number does not see where a row ends.
Once some rows step without the others, it holds every row of every weight as a parameter of its own: a row that is
absent has no gradient and does not move, by torch's own rule, momentum and step count included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain, groupby
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.optim import OptimizerSpec, give_gradients, set_rate
from sglr.core.types import Weights

UPDATE_BYTES = 1 << 26
"""Steps are taken in parts of so many bytes: a gradient that must be copied into its weight's layout is not there
twice."""

ELEMENTWISE = frozenset(
    {"adadelta", "adagrad", "adam", "adamax", "adamw", "asgd", "nadam", "radam", "rmsprop", "rprop", "sgd"}
)
"""Optimizers whose update of a number depends on that number's gradients and on the count of steps alone."""


class RowOptimizer:
    """The optimizer of every row.

    Parameters
    ----------
    whole
        The stacked weights ``[R, ...]`` by name.
    rows
        Every row's weights, views of the stacked ones, in the same order.
    spec
        Which optimizer.
    clip_norm
        Largest norm of one row's gradient, or None.
    """

    def __init__(
        self,
        whole: Mapping[str, Tensor],
        rows: Sequence[tuple[nn.Parameter, ...]],
        spec: OptimizerSpec,
        clip_norm: float | None,
    ) -> None:
        self._whole, self._rows, self._spec, self._clip_norm = whole, rows, spec, clip_norm
        self._forget()

    def _forget(self, *, apart: bool = False) -> None:
        """Begin anew, with rows as parameters of their own or not."""
        self._apart = apart or self._spec.name not in ELEMENTWISE
        everything: list[Any] = list(chain.from_iterable(self._rows)) if self._apart else list(self._whole.values())
        if self._apart and self._spec.name == "sgd":
            # torch's fused SGD fails on a group of which only some parameters have momentum yet (late clients).
            everything = [{"params": own} for own in self._rows if own]
        self._optimizer = self._spec.build(everything, 0.0) if everything else None

    @property
    def _state(self) -> dict[Any, Any]:
        return {} if self._optimizer is None else self._optimizer.state

    def step(self, rows: tuple[int, ...], gradients: Sequence[Tensor], rate: float) -> None:
        """Let the chosen rows take one step at ``rate``, given gradients per parameter ``[n, ...]``."""
        if self._optimizer is None:
            return
        if self._clip_norm is not None:
            gradients = clip_rows(gradients, self._clip_norm)
        if not self._apart and len(rows) < len(self._rows):
            self._take_apart()
        set_rate(self._optimizer, rate)
        for parameters, own in self._parts(rows, gradients):
            give_gradients(parameters, own)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)

    def _parts(self, rows: tuple[int, ...], gradients: Sequence[Tensor]) -> Iterator[tuple[Sequence[Tensor], Sequence[Tensor]]]:
        """Yield parameters with their gradients, `UPDATE_BYTES` at a time: some weights, or some rows of all."""
        sizes = [gradient.numel() * gradient.element_size() for gradient in gradients]
        if not self._apart:
            ends = [(end - 1) // UPDATE_BYTES for end in accumulate(sizes)]
            for _, places in groupby(range(len(ends)), ends.__getitem__):
                chosen = list(places)
                yield [list(self._whole.values())[place] for place in chosen], [gradients[place] for place in chosen]
            return
        height = max(1, UPDATE_BYTES * len(rows) // sum(sizes))
        for start in range(0, len(rows), height):
            part = slice(start, start + height)
            parameters = [self._rows[row][place] for place in range(len(gradients)) for row in rows[part]]
            yield parameters, [own for gradient in gradients for own in gradient[part].contiguous().unbind()]

    def _take_apart(self) -> None:
        """Go over to rows as parameters of their own, each with its part of the state."""
        before = self._state
        self._forget(apart=True)
        for place, whole in enumerate(self._whole.values()):
            for entry, value in before.get(whole, {}).items():
                for own, part in zip(self._rows, _by_row(value, whole), strict=True):
                    self._state[own[place]][entry] = part

    def state(self) -> dict[str, Tensor]:
        """Return the state: per entry those of all rows that have one, stacked.

        Once rows have stepped apart, ``rows`` says which rows these are.
        """
        tensors: dict[str, Tensor] = {}
        for place, (name, whole) in enumerate(self._whole.items()):
            found = self._rows_apart(place) if self._apart else self._rows_together(whole)
            tensors |= {f"{name}.{entry}": torch.stack(list(values)) for entry, values in found.items() if values}
        return tensors

    def _rows_together(self, whole: Tensor) -> dict[str, Sequence[Tensor]]:
        state = self._state.get(whole, {})
        return {entry: _by_row(value, whole) for entry, value in state.items() if value is not None}

    def _rows_apart(self, place: int) -> dict[str, Sequence[Tensor]]:
        states = {row: self._state.get(own[place]) for row, own in enumerate(self._rows)}
        present = {row: state for row, state in states.items() if state}
        entries = [entry for entry, value in next(iter(present.values()), {}).items() if value is not None]
        found = {entry: [torch.as_tensor(state[entry]) for state in present.values()] for entry in entries}
        return {"rows": [torch.tensor(row) for row in present], **found}

    def restore(self, tensors: Weights) -> None:
        """Take up what `state` returned."""
        self._forget(apart=any(name.endswith(".rows") for name in tensors))
        self._state.clear()
        for place, (name, whole) in enumerate(self._whole.items()):
            entries = _below(f"{name}.", tensors)
            rows = entries.pop("rows", torch.arange(len(self._rows))).tolist()
            for entry, values in entries.items():
                # Step counts stay where torch expects them, beside the parameter.
                arrived = values.clone().to(whole.device)
                if not self._apart:
                    self._state[whole][entry] = arrived if arrived.shape == whole.shape else arrived[0]
                    continue
                for row, value in zip(rows, arrived.unbind(), strict=True):
                    self._state[self._rows[row][place]][entry] = value


def _by_row(value: Any, whole: Tensor) -> Sequence[Tensor]:
    """Return each row's part of an entry of the state of a stacked weight; a count of steps is the same for all."""
    value = torch.as_tensor(value)
    return value.unbind() if value.shape == whole.shape else [value.clone() for _ in whole]


def _below(prefix: str, tensors: Weights) -> dict[str, Tensor]:
    """Return the entries of one parameter: those of ``prefix`` followed by a name without dots."""
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return {entry: value for entry, value in own.items() if "." not in entry}


def clip_rows(gradients: Sequence[Tensor], clip_norm: float) -> list[Tensor]:
    """Scale each row's gradient, over all its parameters ``[n, ...]``, to a norm of at most ``clip_norm``."""
    squares = sum(gradient.flatten(1).square().sum(1) for gradient in gradients)
    norms = torch.sqrt(torch.as_tensor(squares))
    factors = (clip_norm / (norms + 1e-6)).clamp(max=1.0)
    return [gradient * factors.reshape(-1, *(1,) * (gradient.dim() - 1)) for gradient in gradients]
