"""Cut a model that is not a Sequential: trace it with ``torch.fx`` and cut its graph behind one value."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node, Proxy, Tracer

from sglr.core.errors import UsageError
from sglr.splitting.in_place import changed_by, is_size, order_of_changes
from sglr.splitting.sequence import is_plain, leave_input


class UntraceableError(UsageError):
    """A model that torch.fx cannot trace."""


@dataclass(frozen=True)
class Trace:
    """The traced computation of a model.

    Parameters
    ----------
    root
        The model, with the constants that the tracer added.
    graph
        Its operations in the order of execution.
    ends
        For each called submodule, the node of its last call's output.
    """

    root: nn.Module
    graph: Graph
    ends: dict[str, Node]

    @cached_property
    def _order_of_changes(self) -> dict[Node, set[Node]]:
        return order_of_changes(self.root, self.graph)

    def _needs(self, node: Node) -> set[Node]:
        """Return the nodes that run before a node wherever it runs."""
        return {*node.all_input_nodes} | self._order_of_changes.get(node, set())

    def lower(self, cut: Node) -> set[Node]:
        """Return the client's nodes: ``cut``, what it depends on, and what only picks something out of these.

        It depends on what changes its inputs in place, too, and that on whatever reads them before. Where the model's
        input would cross, layers that take it are the client's, too.
        """
        found, left = {cut}, [cut]
        while left:
            fresh = self._needs(left.pop()) - found
            found |= fresh
            left.extend(fresh)
        self._take_picks(found, cut)
        if any(node.op == "placeholder" and not found.issuperset(node.users) for node in found):
            self._take_input(found, cut)
        return found

    def _take_picks(self, lower: set[Node], cut: Node) -> None:
        """Add nodes that pick a size or an item out of a value of which no more is used, so that less is sent."""
        for node in self.graph.nodes:
            picked = node in lower and node.op != "get_attr" and (node is not cut or _is_tuple(cut))
            behind = {user for user in node.users if user not in lower}
            if picked and all(_picks(user) and lower.issuperset(self._needs(user)) for user in behind):
                lower |= behind

    def _take_input(self, lower: set[Node], cut: Node) -> None:
        """Add layers that take the model's input, or what functions without layers make of it."""
        made = {node for node in self.graph.nodes if node.op == "placeholder"}
        for node in self.graph.nodes:
            own = {source for source in node.all_input_nodes if source.op == "get_attr"}
            sources = self._needs(node) - own
            if node.op != "output" and sources & made and sources <= lower and cut not in sources:
                lower |= {node, *own}
                made |= {node} if node.op != "call_module" and sources <= made else set()
        self._take_picks(lower, cut)

    def crossing(self, cut: Node) -> list[Node]:
        """Return the values that cross, ``cut`` first, and then others from before it that nodes behind it use."""
        lower = self.lower(cut)
        makers = (node for node in self.graph.nodes if node in lower - {cut} and node.op != "get_attr")
        others = [node for node in makers if not lower.issuperset(node.users)]
        return others if others and cut.users and lower.issuperset(cut.users) else [cut, *others]

    def tensors(self, cut: Node) -> list[Node]:
        """Return what crosses but for sizes, which are numbers."""
        return [node for node in self.crossing(cut) if not is_size(node)]

    def behind(self, cut: Node) -> list[Node]:
        """Return the server's nodes; tensors that both sides read are theirs, too."""
        lower = self.lower(cut)
        return [
            node
            for node in self.graph.nodes
            if node not in lower or (node.op == "get_attr" and not lower.issuperset(node.users))
        ]

    def shares_weights(self, cut: Node) -> bool:
        """Return whether a trained weight is used on both sides."""
        return bool(weights(self.root, self.lower(cut)).keys() & weights(self.root, self.behind(cut)).keys())

    def segments(self, cut: Node) -> tuple[nn.Module, nn.Module]:
        """Return the model up to and behind ``cut``; where several values cross, they do as a tuple."""
        lower, crossing = self.lower(cut), self.crossing(cut)
        first, second = Graph(), Graph()
        made: dict[Node, Node] = {}
        for node in self.graph.nodes:
            if node in lower:
                made[node] = first.node_copy(node, made.__getitem__)
        first.output(made[crossing[0]] if len(crossing) == 1 else tuple(made[node] for node in crossing))
        smashed = second.placeholder("smashed")
        made = {crossing[0]: smashed}
        if len(crossing) > 1:
            made = {node: second.call_function(operator.getitem, (smashed, at)) for at, node in enumerate(crossing)}
        arrived = list(made.values())
        for node in self.behind(cut):
            made[node] = second.node_copy(node, made.__getitem__)
        for value in arrived:
            _leave_input(value, second, self.root)
        lower_part = _Segment(self.root, first)
        if len(second.nodes) <= 2:
            return lower_part, nn.Identity().train(self.root.training)
        upper_part = _Segment(self.root, second)
        _copy_constants(lower_part, upper_part, self.graph.nodes)
        return lower_part, upper_part


_PICKS = (getattr, operator.getitem, "size", "dim")
"""What takes no more than a part, or a size, of a value."""


def _picks(node: Node) -> bool:
    return node.target in _PICKS


def _is_tuple(node: Node) -> bool:
    """Return whether a value is used as a tuple: of a batch, nobody takes single samples by number."""
    picks = [user.target is operator.getitem and isinstance(user.args[1], int) for user in node.users]
    return bool(picks) and all(picks)


class _Segment(nn.Module):
    """Part of a traced model: unlike GraphModules, all have the same class, so that they can be stacked."""

    def __init__(self, root: nn.Module, graph: Graph) -> None:
        super().__init__()
        part = GraphModule(root, graph)
        self._modules, self._parameters, self._buffers = part._modules, part._parameters, part._buffers
        self._run = type(part).forward
        for name, module in self.named_modules():
            module.training = root.get_submodule(name).training

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self._run(self, x)
        return output


def is_traced(segment: nn.Module) -> bool:
    """Return whether a raw segment is part of a traced model."""
    return isinstance(segment, _Segment)


def _leave_input(value: Node, graph: Graph, root: nn.Module) -> None:
    """Keep what has arrived as it is, which autograd forbids to change in place."""
    users = list(value.users)
    if len(users) == 1 and users[0].kwargs.get("inplace") is True:
        users[0].update_kwarg("inplace", False)
    elif len(users) == 1 and users[0].op == "call_module":
        leave_input(root.get_submodule(str(users[0].target)))
    elif any(changed_by(root, user) is value for user in users):
        with graph.inserting_after(value):
            value.replace_all_uses_with(own := graph.call_method("clone", (value,)))
        own.args = (value,)


def trace(root: nn.Module, opened: Callable[[str], bool] | None = None) -> Trace:
    """Trace ``root``, which tracing may change: pass a copy.

    Parameters
    ----------
    root
        A module that takes one input.
    opened
        Tells by name which submodules to trace into; the others become single nodes.
        None traces into everything but the modules of ``torch.nn``.

    Raises
    ------
    UntraceableError
        If the model cannot be traced, or behaves differently in training and in evaluation.
    """
    twin = deepcopy(root).train(not root.training)
    tracer, other = _Tracer(opened), _Tracer(opened)
    graph, opposite = _traced(tracer, root), _traced(other, twin)
    _follow_mode(root, graph, opposite)
    _drop_unused_shapes(graph)
    return Trace(root, graph, tracer.ends)


def trace_children(module: nn.Module) -> Trace:
    """Trace a copy of a model by its children, and those of children that are plain ``nn.Sequential``: see `trace`."""
    root = deepcopy(module)
    return trace(root, opened=lambda name: is_plain(root.get_submodule(name)))


def trace_deep(module: nn.Module) -> Trace:
    """Trace a copy of a model as deep as can be: into all submodules, else as `trace_children` does."""
    try:
        return trace(deepcopy(module))
    except UntraceableError:
        return trace_children(module)


_LEAVES = ("peft.", "sglr.adapters.")
"""Modules that stand for layers of ``torch.nn``."""


class _Tracer(Tracer):
    def __init__(self, opened: Callable[[str], bool] | None) -> None:
        super().__init__()
        self.opened = opened
        self.ends: dict[str, Node] = {}

    def create_args_for_root(self, root_fn: Callable[..., Any], *_: Any, **__: Any) -> tuple[Any, list[Any]]:
        # Only the input is variable: other parameters of forward keep their defaults.
        return root_fn, [self.root, self.create_proxy("placeholder", "input", (), {})]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if self.opened is None:
            # A layer with an adapter is a node, as the layer was.
            return m.__module__.startswith(_LEAVES) or super().is_leaf_module(m, module_qualified_name)
        return not self.opened(module_qualified_name)

    def call_module(self, m: nn.Module, *args: Any, **kwargs: Any) -> Any:
        output = super().call_module(m, *args, **kwargs)
        if isinstance(output, Proxy):
            self.ends[self.path_of_module(m)] = output.node
        return output


def _traced(tracer: Tracer, root: nn.Module) -> Graph:
    try:
        return tracer.trace(root)
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        problem = f"torch.fx cannot trace the model ({said})"
        remedy = "make it an nn.Sequential whose children contain what cannot be traced, and cut behind a child"
        raise UntraceableError("model", type(root).__name__, problem, remedy) from error


def _follow_mode(root: nn.Module, graph: Graph, opposite: Graph) -> None:
    """Make arguments that are ``self.training`` follow the segment's mode again, as tracing made them constants."""
    nodes, twins = list(graph.nodes), list(opposite.nodes)
    same = len(nodes) == len(twins)
    for node, twin in zip(nodes, twins, strict=False):
        node.args = tuple(map(_mode_or_value(graph, node, root.training), node.args, twin.args))
        keys = node.kwargs.keys() & twin.kwargs.keys()
        pick = _mode_or_value(graph, node, root.training)
        node.kwargs = {**node.kwargs, **{key: pick(node.kwargs[key], twin.kwargs[key]) for key in keys}}
        same &= (node.op, node.target) == (twin.op, twin.target)
    if not same:
        problem = "the model behaves differently in training and in evaluation, which torch.fx cannot trace"
        remedy = "move what differs into a separate submodule, and do not cut inside it"
        raise UntraceableError("model", type(root).__name__, problem, remedy)


def _mode_or_value(graph: Graph, node: Node, training: bool) -> Callable[[Any, Any], Any]:
    def pick(value: Any, twin: Any) -> Any:
        if value is training and twin is (not training):
            with graph.inserting_before(node):
                return graph.create_node("get_attr", "training")
        return value

    return pick


def _drop_unused_shapes(graph: Graph) -> None:
    # Unpacking x.shape leaves unused sizes, and using x behind the cut would count as a second crossing.
    for node in reversed(list(graph.nodes)):
        if not node.users and node.target in _PICKS:
            graph.erase_node(node)


def weights(root: nn.Module, nodes: Iterable[Node]) -> dict[int, str]:
    """Return identity and name of every trained weight and buffer that the nodes use."""
    found: dict[int, str] = {}
    for node in nodes:
        if node.op == "call_module":
            module = root.get_submodule(str(node.target))
            found |= named_weights(module, f"{node.target}.")
        elif node.op == "get_attr" and node.target != "training":
            tensor = operator.attrgetter(str(node.target))(root)
            if trained(tensor) and not _is_constant(node, tensor):
                found[id(tensor)] = str(node.target)
    return found


def _is_constant(node: Node, tensor: Tensor) -> bool:
    """Return whether this is a buffer that nothing changes, such as positions: both sides may have a copy."""
    return not isinstance(tensor, nn.Parameter) and not any(str(user.target).endswith("_") for user in node.users)


def _copy_constants(first: nn.Module, second: nn.Module, nodes: Iterable[Node]) -> None:
    """Give the second part its own copies of buffers that both read."""
    own, modules = {id(buffer) for buffer in first.buffers()}, dict(second.named_modules())
    for node in nodes:
        if node.op == "get_attr" and node.target != "training":
            path, _, name = str(node.target).rpartition(".")
            holder = modules.get(path)
            buffer = None if holder is None else holder._buffers.get(name)
            if holder is not None and buffer is not None and id(buffer) in own and _is_constant(node, buffer):
                holder._buffers[name] = buffer.clone()


def named_weights(module: nn.Module, prefix: str = "") -> dict[int, str]:
    """Return identity and name of every trained weight and buffer of the module."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {id(tensor): f"{prefix}{name}" for name, tensor in tensors if trained(tensor)}


def trained(tensor: Tensor) -> bool:
    """Return whether both sides of a cut may not have a copy of it each, as of a frozen weight."""
    return not isinstance(tensor, nn.Parameter) or tensor.requires_grad


def shared_weights(at: int | str, names: Iterable[str], instead: str = "") -> UsageError:
    """Return the error that a cut has these weights on both sides, and what to do ``instead``."""
    problem = f"these weights are used on both sides of the cut: {', '.join(names)}"
    remedy = instead or "cut elsewhere, give each side its own weights"
    return UsageError("cut", at, problem, f"{remedy}, or freeze them (--freeze LAYER)")
