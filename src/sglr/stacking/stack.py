"""Copies of one segment side by side: the lower segments of clients, the server's, or its copy for each client.

Every weight is one tensor with a leading axis R (rows, one per copy); passes run through `sglr.stacking.passes`, steps
through `sglr.stacking.row_optimizer`. A stack of one row is an ordinary module. Frozen weights are there once for all
rows.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.core.optim import OptimizerSpec
from sglr.core.weights import Weights, below, state_of, trained_of
from sglr.splitting import ClientSegments, HeadedSegment
from sglr.splitting.segment_weights import frozen_of, keep_frozen
from sglr.stacking.accumulator import Accumulator
from sglr.stacking.passes import Gradients, GroupedGraph, Pass, run_backward, run_forward, run_in_groups, run_stacked
from sglr.stacking.precision import SINGLE_PRECISION, Precision
from sglr.stacking.row_optimizer import RowOptimizer
from sglr.stacking.rows import Rows, index_of
from sglr.stacking.runner import Runner
from sglr.stacking.sub_stack import SubStack

LOOPED = ("looped", "parallel")
"""Forms in which every row is a call of its own."""

WHOLE_BYTES = 1 << 29
"""Rows with more weights than that run in groups on a CPU: beyond 1 GiB the system takes the memory of gradients back
after every step, and zeroes other memory for the next."""


class Stack(Rows):
    """Copies of one segment, with their optimizers.

    Parameters
    ----------
    segment
        Gives the copy of a row with its first weights; all are of one architecture, and asked for once, in order.
    rows
        R.
    optimizer
        The optimizer of every copy.
    clip_norm
        Largest norm of one copy's gradient, or None.
    stacked
        Run copies as one call (True) or one after another (False).
    device
        Where weights live.
    first
        Gives the first weights and buffers of a row, where that is faster than its segment.
    apart
        True if rows will never have taken equally many steps, because copies come and go.
    precision
        Precision of its passes, and whether they are compiled.

    Attributes
    ----------
    convolves
        Whether a copy has weights of convolutions, to which images should come channels-last.
    frozen
        Weights that are not trained, ``[...]``, the same for every row.
    tail
        The tails, where segments are two (U-shape); else None.
    head
        The heads, where clients have one; else None.
    """

    def __init__(
        self,
        segment: Callable[[int], nn.Module],
        rows: int,
        optimizer: OptimizerSpec,
        *,
        clip_norm: float | None,
        stacked: bool,
        device: torch.device,
        first: Callable[[int], Weights] | None = None,
        apart: bool = False,
        precision: Precision = SINGLE_PRECISION,
    ) -> None:
        self.rows, self.device = rows, device
        self.template = segment(0)
        tensors = {name: tensor.new_empty(rows, *tensor.shape) for name, tensor in state_of(self.template).items()}
        for row in range(rows):
            # Copied one by one, so that there never is a second copy of all.
            own = first(row) if first and row else state_of(segment(row) if row else self.template)
            for name, tensor in own.items():
                tensors[name][row] = tensor
        keep_frozen(self.template, device)
        names = list(trained_of(self.template))
        self.parameters = {name: tensors.pop(name).to(device).requires_grad_() for name in names}
        self.buffers = {name: tensor.to(device) for name, tensor in tensors.items()}
        self.frozen = frozen_of(self.template)
        self.stacked = stacked
        self.convolves = any(tensor.dim() == 4 for tensor in self.template.parameters())
        self.runner = Runner(self.template, precision, device)
        self.row_parameters = self._split_rows()
        self._optimizer = RowOptimizer(self.parameters, self.row_parameters, optimizer, clip_norm, apart=apart)
        self._accumulator = Accumulator(self.parameters)
        self.module = self._as_module() if self.rows == 1 else None
        self.tail: SubStack | None = None
        if isinstance(self.template, ClientSegments):
            self.tail = SubStack(self, self.template, "tail", self.template.features)
        self.head: SubStack | None = None
        if isinstance(self.template, HeadedSegment):
            self.head = SubStack(self, self.template, "head", self.template.features)

    def _split_rows(self) -> list[tuple[nn.Parameter, ...]]:
        """View every row of every weight as a parameter of its own, without copying."""
        views = [tensor.detach().unbind() for tensor in self.parameters.values()]
        if not views:
            return [()] * self.rows
        return [tuple(nn.Parameter(view) for view in row) for row in zip(*views, strict=True)]

    def _as_module(self) -> nn.Module:
        """Copy the template with the one row's tensors in their places, wherever these are used."""
        own: dict[str, object] = dict(zip(self.parameters, self.row_parameters[0], strict=True))
        places = {id(tensor): own.get(name, tensor) for name, tensor in self.template.named_parameters()}
        places |= {id(tensor): self.buffers[name][0] for name, tensor in self.template.named_buffers()}
        return copy.deepcopy(self.template, places)

    def forward(self, rows: tuple[int, ...], inputs: Tensor, *, by_inputs: bool = False) -> Pass:
        """Run the chosen rows in training mode.

        Parameters
        ----------
        rows
            Rows to run, n of them, ascending.
        inputs
            ``[n, b, ...]``: every sample real, since padding would reach batch statistics.
        by_inputs
            True if `backward` shall also return gradients by the inputs.

        Returns
        -------
        Pass
            Outputs ``[n, b, ...]`` and what `backward` needs.
        """
        if not by_inputs and self._in_groups(rows):
            return run_in_groups(self, rows, inputs, self._optimizer.height)
        return run_forward(self, rows, inputs, by_inputs=by_inputs)

    def _in_groups(self, rows: tuple[int, ...]) -> bool:
        """Say whether rows run in groups, so that the gradients of all of them never are there at once."""
        large = sum(tensor.nbytes for tensor in self.parameters.values()) > WHOLE_BYTES
        here = self.device.type == "cpu" and not self.runner.precision.compiled
        return large and here and self.stacks(rows) and rows == tuple(range(self.rows))

    def backward(
        self, forward: Pass, loss_gradients: Tensor, *, weights: bool = True, inputs: bool = True
    ) -> Gradients:
        """Return the gradients of a pass.

        Parameters
        ----------
        forward
            The pass.
        loss_gradients
            Gradients of each row's own loss by its outputs, ``[n, b, ...]``.
        weights, inputs
            False to leave gradients out; a pass that gives them by two losses gives those by weights first.
        """
        return run_backward(forward, loss_gradients, weights=weights, inputs=inputs)

    def steps_in_groups(self, forward: Pass) -> bool:
        """Say whether `update_in_groups` can do all that `backward` and `update` would: nobody keeps gradients."""
        return isinstance(forward.graph, GroupedGraph) and not self._accumulator.rows

    def update_in_groups(
        self, forward: Pass, loss_gradients: Tensor, rate: float | Sequence[tuple[Sequence[int], float]]
    ) -> None:
        """Go back through a pass in groups, each of which steps before the next one goes back."""
        assert isinstance(forward.graph, GroupedGraph)
        self._optimizer.step_in_groups(forward.rows, forward.graph.by_group(loss_gradients), rate)

    def update(
        self,
        rows: tuple[int, ...],
        gradients: Sequence[Tensor],
        rate: float | Sequence[tuple[Sequence[int], float]],
        samples: int = 1,
        *,
        keep: Collection[int] = (),
    ) -> None:
        """Let the chosen rows take one step of their optimizers; no other row moves.

        Parameters
        ----------
        rows
            Rows that step, n of them.
        gradients
            Per parameter ``[n, ...]``.
        rate
            The learning rate; or of parts of the weights, their places and a rate, of which the others do not move.
        samples
            Samples of each row over which its gradients are means.
        keep
            Those of ``rows`` that keep their gradients, and do not step yet: when they do, it is on the mean over all
            samples since their last step.
        """
        if keep or self._accumulator.rows:
            rows, gradients = self._accumulator.due(rows, gradients, samples, keep)
        if rows:
            self._optimizer.step(rows, gradients, rate)

    def flush(self, rate: float) -> None:
        """Update all rows that keep gradients."""
        if rows := self._accumulator.rows:
            self._optimizer.step(rows, self._accumulator.take(rows), rate)

    @property
    def form(self) -> str:
        """How rows run: ``"stacked"``, ``"matmul"``, ``"looped"`` or ``"parallel"``."""
        if self.stacked:
            return "matmul" if self.runner.by_matmul else "stacked"
        return "parallel" if self.parallel else "looped"

    def run_as(self, form: str) -> None:
        """Run rows from now on as one call, ``"stacked"``, or one after another, ``"looped"``.

        ``"matmul"`` is stacked with convolutions as products of matrices, ``"parallel"`` looped in several threads.
        """
        self.stacked, self.parallel = form not in LOOPED, form == "parallel"
        self.runner.by_matmul = form == "matmul"

    def stacks(self, rows: Sequence[int]) -> bool:
        """Say whether these rows run as one call."""
        return self.stacked and len(rows) > 1

    def predict(self, rows: tuple[int, ...], inputs: Tensor) -> Tensor:
        """Run the chosen rows in evaluation mode on the same inputs ``[m, ...]``; returns ``[n, m, ...]``."""
        with torch.no_grad():
            if not (self.parameters or self.buffers):
                # Without anything of their own all give the same.
                outputs = self.call(0, inputs, training=False)
                return outputs.expand(len(rows), *outputs.shape)
            if not self.stacks(rows):
                return torch.stack([self.call(row, inputs, training=False) for row in rows])
            weights, buffers = self.take(self.parameters, rows), self.take(self.buffers, rows)
            return self.runner.predict_rows(weights, buffers, inputs).transpose(0, 1)

    def why_not_stacked(self, inputs: Tensor) -> str | None:
        """Try two rows stacked on inputs ``[2, b, ...]``, leaving no trace; return what is against it, if anything."""
        before = self.weights((0,))
        try:
            run_stacked(self, (0, 0), inputs)
            for part in (self.tail, self.head):
                if part is not None:
                    run_stacked(part, (0, 0), part.some_inputs(2, inputs.shape[1]))
        except Exception as error:  # vmap raises many kinds, and a model may raise any
            return str(error).partition("\n")[0]
        finally:
            self.load((0,), {name: tensor[0] for name, tensor in before.items()})
        return None

    def weights(self, rows: tuple[int, ...]) -> dict[str, Tensor]:
        """Return a copy of the chosen rows' weights and buffers, each ``[n, ...]``."""
        index = index_of(rows)
        return {name: tensor.detach()[index].clone() for name, tensor in self._everything().items()}

    def load(self, rows: tuple[int, ...], weights: Weights) -> None:
        """Set those weights and buffers of the chosen rows that are given.

        All get the same values ``[...]``, or each its own ``[n, ...]``. Gradients that they kept are forgotten: those
        were of other weights.
        """
        self._accumulator.forget(rows)
        index = index_of(rows)
        with torch.no_grad():
            for name, tensor in self._everything().items():
                if name in weights:
                    tensor[index] = weights[name].to(tensor.device)

    def take_out(self, rows: Sequence[int]) -> list[tuple[tuple[int, ...], dict[str, Tensor]]]:
        """Return copies of all that rows hold: weights, buffers, optimizer state and kept gradients, as in `state`.

        Returns
        -------
        list
            Places in ``rows`` and their tensors ``[n, ...]``, those together that have the same entries: a row that has
            not stepped yet mostly has no optimizer state.
        """
        states = [
            {f"optimizer.{name}": tensor for name, tensor in own.items()}
            | {f"accumulated.{name}": tensor for name, tensor in self._accumulator.taken_out(row).items()}
            for row, own in zip(rows, self._optimizer.take(rows), strict=True)
        ]
        alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for place, state in enumerate(states):
            alike[tuple(state)].append(place)
        found = []
        for names, places in alike.items():
            weights = self.weights(tuple(rows[place] for place in places))
            tensors = {f"weights.{name}": tensor for name, tensor in weights.items()}
            tensors |= {name: torch.stack([states[place][name] for place in places]) for name in names}
            found.append((tuple(places), tensors))
        return found

    def put_in(self, rows: tuple[int, ...], tensors: Weights) -> None:
        """Set all that rows hold to ``tensors`` ``[n, ...]``; without optimizer state they have a fresh optimizer."""
        index = index_of(rows)
        with torch.no_grad():
            for name, tensor in self._everything().items():
                tensor[index] = tensors[f"weights.{name}"].to(tensor.device)
        self._optimizer.put(rows, below("optimizer.", tensors))
        self._accumulator.put(rows, below("accumulated.", tensors))

    def forget_steps(self, rows: tuple[int, ...]) -> None:
        """Give the chosen rows a fresh optimizer, and no gradients of before."""
        self._optimizer.forget(rows)
        self._accumulator.forget(rows)

    def _everything(self) -> dict[str, Tensor]:
        return {**self.parameters, **self.buffers}

    def state(self) -> dict[str, Tensor]:
        """Return everything that a checkpoint needs: weights, buffers, optimizer state and kept gradients, by name."""
        tensors = {f"weights.{name}": tensor.detach() for name, tensor in self._everything().items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in self._optimizer.state().items()}
        return tensors | {f"accumulated.{name}": tensor for name, tensor in self._accumulator.state().items()}

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        with torch.no_grad():
            for name, tensor in self._everything().items():
                tensor.copy_(tensors[f"weights.{name}"])
        self._optimizer.restore(below("optimizer.", tensors))
        self._accumulator.restore(below("accumulated.", tensors))


def why_not_stacked(segment: nn.Module, inputs: Tensor) -> str | None:
    """Try two copies of a segment stacked on inputs ``[2, b, ...]``; return what is against it, if anything."""
    own = copy.deepcopy(segment)
    trial = Stack(lambda _: own, 1, OptimizerSpec(), clip_norm=None, stacked=True, device=torch.device("cpu"))
    return trial.why_not_stacked(inputs)


def unstackable(wanted: str, what: str, reason: str) -> UsageError:
    """Return what to say if copies shall run as one call, ``wanted``, and can't."""
    problem = f"{what} can't be stacked ({reason})"
    return UsageError("stacking", wanted, problem, "give --stacking auto, which runs copies one after another")
