"""One optimizer for many copies of a segment, each copy with an optimizer state of its own.

As long as all rows step together, one ``torch.optim`` optimizer holds bands of them as parameters: all rows have taken
the same number of steps then, and an optimizer that works number by number does not see where a row ends. Once some
rows step without the others, it holds every row as a parameter of its own: a row that is absent has no gradient and
does not move, by torch's own rule, momentum and step count included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.optim import OptimizerSpec, give_gradients, set_rate
from sglr.core.weights import Weights

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
    apart
        True if rows are known never to have taken equally many steps.

    Attributes
    ----------
    height
        How many rows step at once.
    """

    def __init__(
        self,
        whole: Mapping[str, Tensor],
        rows: Sequence[tuple[nn.Parameter, ...]],
        spec: OptimizerSpec,
        clip_norm: float | None,
        *,
        apart: bool = False,
    ) -> None:
        self._names, self._rows, self._spec, self._clip_norm = tuple(whole), rows, spec, clip_norm
        bytes_per_row = sum(tensor[0].numel() * tensor.element_size() for tensor in whole.values())
        self.height = max(1, UPDATE_BYTES // max(1, bytes_per_row))
        # Their state looks like a count of steps, which a band has once and rows have each.
        self._never_bands = apart or any(tensor.dim() == 1 for tensor in whole.values())
        cut = [[nn.Parameter(band) for band in torch.split(tensor.detach(), self.height)] for tensor in whole.values()]
        self._bands = list(zip(*cut, strict=True))
        self._begin(apart=self._never_bands)

    def _begin(self, *, apart: bool) -> None:
        """Begin anew, with bands or single rows as parameters."""
        self._apart = apart or self._spec.name not in ELEMENTWISE
        everything: list[Any] = list(chain.from_iterable(self._rows if self._apart else self._bands))
        if self._apart and self._spec.name == "sgd":
            # torch's fused SGD fails on a group of which only some parameters have momentum yet (late clients).
            everything = [{"params": own} for own in self._rows if own]
        self._optimizer = self._spec.build(everything, 0.0) if everything else None

    @property
    def _state(self) -> dict[Any, Any]:
        return {} if self._optimizer is None else self._optimizer.state

    def step(
        self, rows: tuple[int, ...], gradients: Sequence[Tensor], rate: float | Sequence[tuple[Sequence[int], float]]
    ) -> None:
        """Let the chosen rows take one step at ``rate``, given gradients per parameter ``[n, ...]``.

        Parts of them may have rates of their own, each with the places of its parameters; the rest does not move then.
        """
        parts = (slice(start, start + self.height) for start in range(0, len(rows), self.height))
        self.step_in_groups(rows, ([gradient[part] for gradient in gradients] for part in parts), rate)

    def step_in_groups(
        self,
        rows: tuple[int, ...],
        gradients: Iterable[Sequence[Tensor]],
        rate: float | Sequence[tuple[Sequence[int], float]],
    ) -> None:
        """Do what `step` does, given the gradients of `height` rows after those of others, which need not exist yet."""
        if not self._apart and len(rows) < len(self._rows):
            self._take_apart()
        if self._optimizer is None:
            return
        rates = [(range(len(self._names)), rate)] if isinstance(rate, (int, float)) else rate
        for number, group in enumerate(gradients):
            chosen = rows[number * self.height : (number + 1) * self.height]
            clipped = group if self._clip_norm is None else clip_rows(group, self._clip_norm)
            for places, own_rate in rates:
                if number == 0 or len(rates) > 1:
                    set_rate(self._optimizer, own_rate)
                self._step_group(number, chosen, clipped, places)

    def _step_group(
        self, number: int, rows: tuple[int, ...], gradients: Sequence[Tensor], places: Sequence[int]
    ) -> None:
        assert self._optimizer is not None
        for place in places:
            if self._apart:
                give_gradients([self._rows[row][place] for row in rows], gradients[place].contiguous().unbind())
            else:
                give_gradients([self._bands[number][place]], [gradients[place]])
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _take_apart(self) -> None:
        """Go over to rows as parameters of their own, each with its part of the state."""
        before = [self._by_row(place) for place in range(len(self._names))]
        self._begin(apart=True)
        for place, states in enumerate(before):
            self._put(place, states)

    def take(self, rows: Sequence[int]) -> list[dict[str, Tensor]]:
        """Return each row's state, by the weight's name and the entry's; empty for a row that has none."""
        states: list[dict[str, Tensor]] = [{} for _ in rows]
        for place, name in enumerate(self._names):
            by_row = self._by_row(place)
            for own, row in zip(states, rows, strict=True):
                found = by_row.get(row, {})
                own |= {f"{name}.{key}": torch.as_tensor(value) for key, value in found.items() if value is not None}
        return states

    def put(self, rows: Sequence[int], tensors: Weights) -> None:
        """Give rows the states ``[n, ...]``, named as in `take`; without any they have a fresh optimizer."""
        if not self._apart:
            self._take_apart()
        self.forget(rows)
        for place, name in enumerate(self._names):
            device = self._rows[0][place].device
            arrived = {key: value.to(device).unbind() for key, value in _below(f"{name}.", tensors).items()}
            if arrived:
                self._put(place, {row: {key: v[i] for key, v in arrived.items()} for i, row in enumerate(rows)})

    def forget(self, rows: Sequence[int]) -> None:
        """Give rows a fresh optimizer."""
        if not self._apart and len(rows) == len(self._rows):
            self._begin(apart=self._never_bands)
            return
        if not self._apart:
            self._take_apart()
        own = list(chain.from_iterable(self._rows[row] for row in rows))
        # Some optimizers have a state before their first step.
        fresh = self._spec.build(own, 0.0).state if own else {}
        for parameter in own:
            self._state.pop(parameter, None)
            if parameter in fresh:
                self._state[parameter] = fresh[parameter]

    def _put(self, place: int, states: Mapping[int, Mapping[str, Any]]) -> None:
        """Set the state of one weight, by row."""
        if self._apart:
            for row, state in states.items():
                self._state[self._rows[row][place]] = dict(state)
        elif states:
            for number, band in enumerate(self._bands):
                first = number * self.height
                rows = [states[row] for row in range(first, first + len(band[place]))]
                self._state[band[place]] = _together(rows)

    def _by_row(self, place: int) -> dict[int, dict[str, Tensor]]:
        """Return the state of one weight, by row, of the rows that have one."""
        if self._apart:
            states = {row: self._state.get(own[place]) for row, own in enumerate(self._rows)}
            return {row: state for row, state in states.items() if state}
        parted = [_apart_of(self._state.get(band[place]), band[place]) for band in self._bands]
        return dict(enumerate(chain.from_iterable(parted)))

    def state(self) -> dict[str, Tensor]:
        """Return the state: per entry that of all rows that have one, stacked.

        Once rows have stepped apart, ``rows`` says which rows these are.
        """
        tensors: dict[str, Tensor] = {}
        for place, name in enumerate(self._names):
            states = self._by_row(place)
            if states and self._apart:
                tensors[f"{name}.rows"] = torch.tensor(list(states))
            for entry, example in next(iter(states.values()), {}).items():
                if example is not None:
                    values = [torch.as_tensor(state[entry]) for state in states.values()]
                    tensors[f"{name}.{entry}"] = torch.stack(values)
        return tensors

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        self._begin(apart=self._never_bands or any(name.endswith(".rows") for name in tensors))
        self._state.clear()
        for place, name in enumerate(self._names):
            entries = _below(f"{name}.", tensors)
            rows = entries.pop("rows", torch.arange(len(self._rows))).tolist()
            # Step counts stay where torch expects them, beside the parameter.
            device = self._rows[0][place].device
            arrived = {entry: value.clone().to(device).unbind() for entry, value in entries.items()}
            if arrived:
                self._put(place, {row: {e: v[i] for e, v in arrived.items()} for i, row in enumerate(rows)})


def _apart_of(state: Mapping[str, Any] | None, band: Tensor) -> list[dict[str, Tensor]]:
    """Return each row's part of a band's state; a count of steps is the same for all."""
    rows: list[dict[str, Tensor]] = [{} for _ in band] if state else []
    for entry, value in (state or {}).items():
        if value is not None:
            value = torch.as_tensor(value)
            parts = value.unbind() if value.shape == band.shape else [value.clone() for _ in band]
            for row, part in zip(rows, parts, strict=True):
                row[entry] = part
    return rows


def _together(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Undo `_apart_of`."""
    return {
        entry: torch.stack([state[entry] for state in rows]) if example.dim() else example
        for entry, example in rows[0].items()
    }


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
