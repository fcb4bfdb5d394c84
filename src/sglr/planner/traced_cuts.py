"""Figures of every cut of a traced model, from one pass over its operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from sglr.cost.computation import FlopCounter
from sglr.planner.cut_figures import Crosses, CutFigures, Leak
from sglr.splitting.graph import Trace, weights


class _Pass(Interpreter):
    """Runs a traced model and notes what its operations cost and make.

    Parameters
    ----------
    traced
        The model.
    cuts
        Nodes behind which what crosses is looked at.
    look
        Called with each of these and its values.
    """

    def __init__(self, traced: Trace, cuts: set[Node], look: Callable[[Node, list[Tensor]], None] | None) -> None:
        module = GraphModule(traced.root, traced.graph)
        super().__init__(module, graph=traced.graph)
        self._traced, self._cuts, self._look = traced, cuts, look
        self.counter = FlopCounter()
        self.flops: dict[Node, float] = {}
        self.made: dict[Node, Any] = {}

    def run_node(self, n: Node) -> Any:
        """Run an operation and note what it costs."""
        before = self.counter.flops
        value = super().run_node(n)
        self.flops[n] = self.counter.flops - before
        if isinstance(value, Tensor):
            self.made[n] = (tuple(value.shape), value.dtype, value.requires_grad)
        if self._look is not None and n in self._cuts:
            there = {**self.env, n: value}
            values = [there[node] for node in self._traced.tensors(n) if isinstance(there.get(node), Tensor)]
            self._look(n, values)
        return value


def figures_in_one_pass(
    traced: Trace, example: Tensor, samples: Tensor | None = None, leak: Leak | None = None
) -> Iterator[CutFigures]:
    """Yield every cut that leaves weights on both sides, in the order of execution.

    Parameters
    ----------
    traced
        The model.
    example
        Inputs ``[b, ...]``, b >= 2.
    samples, leak
        As `sglr.planner.figures_of_cuts.figures_of_cuts` takes them.
    """
    names: dict[Node, str] = {}
    for name, node in traced.ends.items():
        names[node] = min(name, names.get(node, name), key=len)
    sides = _Sides(traced)
    cuts = [node for node in traced.graph.nodes if node in names and all(sides.at(node) or (0, 0))]
    figures = _Pass(traced, set(cuts), None)
    with torch.random.fork_rng([]), figures.counter:
        given = example[:2].clone()
        figures.run(given.requires_grad_().clone() if given.is_floating_point() else given)
    leaks = {} if samples is None or leak is None else _leaks(traced, set(cuts), samples, leak)
    whole = sum(figures.flops.values()) / 2
    for node in cuts:
        below, above = sides.at(node) or (0, 0)
        client = sum(figures.flops.get(each, 0) for each in traced.lower(node)) / 2
        crosses = tuple(_crosses(value, names, figures) for value in traced.tensors(node) if value in figures.made)
        if crosses:
            yield CutFigures(names[node], crosses, client, whole - client, below, above, leaks.get(node))


class _Sides:
    """The weights on either side of each cut.

    Parameters
    ----------
    traced
        The model.
    """

    def __init__(self, traced: Trace) -> None:
        self._traced = traced
        self._sizes = {id(weight): weight.numel() for weight in traced.root.parameters()}
        self._trained = {node: set(weights(traced.root, [node])) for node in traced.graph.nodes}
        self._used = {node: _parameters(traced.root, node) for node in traced.graph.nodes}
        self._known: dict[Node, tuple[int, int] | None] = {}

    def at(self, cut: Node) -> tuple[int, int] | None:
        """Return how many weights the client and the server have; None if they would train the same ones."""
        if cut not in self._known:
            lower, behind = self._traced.lower(cut), self._traced.behind(cut)
            shared = _joined(self._trained, lower) & _joined(self._trained, behind)
            self._known[cut] = None if shared else (self._count(lower), self._count(behind))
        return self._known[cut]

    def _count(self, nodes: Iterable[Node]) -> int:
        return sum(self._sizes[each] for each in _joined(self._used, nodes))


def _joined(found: Mapping[Node, set[int]], nodes: Iterable[Node]) -> set[int]:
    return set[int]().union(*(found[node] for node in nodes))


def _parameters(root: nn.Module, node: Node) -> set[int]:
    if node.op == "call_module":
        return {id(weight) for weight in root.get_submodule(str(node.target)).parameters()}
    tensor = attrgetter(str(node.target))(root) if node.op == "get_attr" else None
    return {id(tensor)} if isinstance(tensor, nn.Parameter) else set()


def _leaks(traced: Trace, cuts: set[Node], samples: Tensor, leak: Leak) -> dict[Node, float]:
    found: dict[Node, float] = {}

    def look(node: Node, values: list[Tensor]) -> None:
        there = [value.detach() for value in values if value.dim() and len(value) == len(samples)]
        floats = [value.float() for value in there if value.is_floating_point()]  # others are masks and tokens
        if floats:
            found[node] = leak(samples, floats)

    with torch.random.fork_rng([]), torch.no_grad():
        _Pass(traced, cuts, look).run(samples)
    return found


def _crosses(node: Node, names: dict[Node, str], figures: _Pass) -> Crosses:
    shape, dtype, learned = figures.made[node]
    return Crosses(names.get(node, node.name), shape[1:], str(dtype).removeprefix("torch."), learned)
