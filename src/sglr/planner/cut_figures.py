"""Every cut of a model with its figures, from one pass: what crosses, bytes, operations and weights on either side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from sglr.core.errors import UsageError
from sglr.cost.computation import FlopCounter, segment_flops
from sglr.splitting import Split, crossing_of, cut_points, split
from sglr.splitting.graph import Trace, UntraceableError, trace_deep, weights
from sglr.splitting.transformers import Transformer

Leak = Callable[[Tensor, list[Tensor]], float]
"""Tells of inputs ``[n, ...]`` and of what crosses for them how much of the inputs is in it."""

BYTES = 4
"""Bytes of a number on the wire without compression: floats, and integers beside them, have 32 bits."""


@dataclass(frozen=True)
class Crosses:
    """A value that crosses a cut.

    Parameters
    ----------
    name
        The layer, or the operation, that makes it.
    shape
        Of one sample.
    dtype
        Its type.
    learned
        Whether gradients come back for it; else it goes beside what is learned, as integers.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    learned: bool = True

    @property
    def size(self) -> int:
        """Numbers of one sample."""
        return torch.Size(self.shape).numel()


@dataclass(frozen=True)
class CutFigures:
    """A cut and what it decides.

    Parameters
    ----------
    layer
        The client's last layer, as ``--cut`` takes it.
    crosses
        What crosses.
    client_flops, server_flops
        Operations of one sample forward, on either side.
    client_weights, server_weights
        How many trained and frozen weights are on either side.
    leak
        What of the inputs is in what crosses; None where it was not asked for, or can't be told.
    """

    layer: str
    crosses: tuple[Crosses, ...]
    client_flops: float
    server_flops: float
    client_weights: int
    server_weights: int
    leak: float | None = None

    @property
    def bytes(self) -> int:
        """Bytes of one sample's smashed data."""
        return BYTES * sum(value.size for value in self.crosses)

    @property
    def share(self) -> float:
        """The client's share of the operations, 0 to 1."""
        whole = self.client_flops + self.server_flops
        return self.client_flops / whole if whole else 0.0

    def record(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {**asdict(self), "bytes": self.bytes, "share": self.share}


@dataclass(frozen=True)
class Link:
    """A client's way to the server, and what both compute.

    Parameters
    ----------
    rate
        Bytes per second.
    rtt
        Seconds of a round trip.
    client, server
        Operations per second.
    """

    rate: float
    rtt: float
    client: float
    server: float

    def seconds(self, cut: CutFigures, batch: int) -> float:
        """Return the time of a step with a batch: smashed data up, gradients down, forward and twice that backward."""
        computing = 3 * (cut.client_flops / self.client + cut.server_flops / self.server)
        return self.rtt + batch * (2 * cut.bytes / self.rate + computing)


def cut_figures(
    model: nn.Module, example: Tensor, samples: Tensor | None = None, leak: Leak | None = None
) -> list[CutFigures]:
    """Return every cut of a model that leaves weights on both sides, in the order of execution.

    Parameters
    ----------
    model
        The model; it stays as it is.
    example
        Inputs ``[b, ...]``, b >= 2.
    samples, leak
        Inputs ``[n, ...]`` of which is told what leaks, and how; None for not.

    Raises
    ------
    UsageError
        If the model fails on its input.
    """
    twin = deepcopy(model).eval()
    if isinstance(twin, Transformer):
        return list(_one_by_one(twin, twin.cut_points(), example, samples, leak))
    try:
        traced = trace_deep(twin)
    except UntraceableError:
        return list(_one_by_one(twin, cut_points(twin, example), example, samples, leak))
    return list(_in_one_pass(traced, example, samples, leak))


def share_of(cut: str | int | None) -> float | None:
    """Return the share of a cut such as ``40%``, 0 to 1; None for a cut that is a place.

    Raises
    ------
    UsageError
        If it is no share between 0 and 100 %.
    """
    if not isinstance(cut, str) or not cut.endswith("%"):
        return None
    try:
        share = float(cut[:-1]) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError("cut", cut, "is no share of the operations", "give a number from 0 to 100, such as 40%")
    return share


def nearest_cut(model: nn.Module, share: float, example: Tensor) -> str:
    """Return the layer behind which the client's share of the operations is nearest to ``share``.

    Layers behind which one tensor crosses come before others; of those that are equally near, one that sends least.

    Raises
    ------
    UsageError
        If the model has no place to cut.
    """
    found = cut_figures(model, example)
    if not found:
        problem = "the model has no layer to cut behind with weights on both sides"
        raise UsageError("cut", f"{share:.0%}", problem, "give a model with more layers")
    return nearest(found, share).layer


def nearest(cuts: Sequence[CutFigures], share: float) -> CutFigures:
    """Return the cut that `nearest_cut` names; masks and other integers beside a tensor do not count."""
    single = [cut for cut in cuts if sum(value.learned for value in cut.crosses) == 1] or cuts
    return min(single, key=lambda cut: (round(abs(cut.share - share), 9), cut.bytes))


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


def _in_one_pass(traced: Trace, example: Tensor, samples: Tensor | None, leak: Leak | None) -> Iterator[CutFigures]:
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


def _one_by_one(
    model: nn.Module, layers: list[str], example: Tensor, samples: Tensor | None, leak: Leak | None
) -> Iterator[CutFigures]:
    """Cut a model that is not traced at each place, and run each lower part."""
    inputs, dtype = tuple(example.shape[1:]), example.dtype
    whole = segment_flops(model, inputs, dtype=dtype).forward
    for layer in layers:
        try:
            parts = split(model, layer, example)
        except UsageError:  # such as weights that both sides would train
            continue
        below, above = (sum(weight.numel() for weight in part.parameters()) for part in parts)
        if below and above:
            client = segment_flops(parts.lower, inputs, dtype=dtype)
            told = None if samples is None or leak is None else _leak_of(parts, samples, leak)
            crosses = values_that_cross(layer, parts, client.output_shape)
            yield CutFigures(layer, crosses, client.forward, whole - client.forward, below, above, told)


def values_that_cross(layer: str, parts: Split, shape: tuple[int, ...]) -> tuple[Crosses, ...]:
    """Return what crosses behind a layer, integers last; ``shape`` is that of one sample's smashed data."""
    crossing = crossing_of(parts.lower)
    if crossing is None:
        return (Crosses(layer, shape, "float32"),)
    values = [(each, True) for each in crossing.learned] + [(each, False) for each in crossing.beside]
    return tuple(
        Crosses(f"{layer}{each.name}", each.shape, str(each.dtype).removeprefix("torch."), learned)
        for each, learned in values
    )


def _leak_of(parts: Split, samples: Tensor, leak: Leak) -> float:
    with torch.random.fork_rng([]), torch.no_grad():
        sent, crossing = parts.lower.eval()(samples), crossing_of(parts.lower)
        return leak(samples, [sent if crossing is None else sent[:, : crossing.learned_size]])
