"""Cut a model that is not a Sequential: trace it with ``torch.fx`` and cut its graph behind one value."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node, Proxy, Tracer

from sglr.core.errors import UsageError
from sglr.splitting.sequence import leave_input


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

    def lower(self, cut: Node) -> set[Node]:
        """Return ``cut`` and the nodes that it depends on."""
        found, left = {cut}, [cut]
        while left:
            fresh = set(left.pop().all_input_nodes) - found
            found |= fresh
            left.extend(fresh)
        return found

    def crossing(self, cut: Node) -> list[Node]:
        """Return the values besides ``cut`` from before it that nodes behind it use."""
        lower = self.lower(cut)
        makers = (node for node in self.graph.nodes if node in lower - {cut} and node.op != "get_attr")
        return [node for node in makers if not lower.issuperset(node.users)]

    def segments(self, cut: Node) -> tuple[nn.Module, nn.Module]:
        """Return the model up to and behind ``cut``, which must be the only value that crosses."""
        lower = self.lower(cut)
        first, second = Graph(), Graph()
        made: dict[Node, Node] = {}
        for node in self.graph.nodes:
            if node in lower:
                made[node] = first.node_copy(node, made.__getitem__)
        first.output(made[cut])
        made = {cut: second.placeholder("smashed")}
        for node in self.graph.nodes:
            if node not in lower or (node.op == "get_attr" and not lower.issuperset(node.users)):
                made[node] = second.node_copy(node, made.__getitem__)
        _leave_input(second, self.root)
        last = nn.Identity().train(self.root.training)
        return _Segment(self.root, first), _Segment(self.root, second) if len(second.nodes) > 2 else last


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


def _leave_input(graph: Graph, root: nn.Module) -> None:
    users = list(next(iter(graph.nodes)).users)
    if len(users) == 1 and users[0].kwargs.get("inplace") is True:
        users[0].update_kwarg("inplace", False)
    elif len(users) == 1 and users[0].op == "call_module":
        leave_input(root.get_submodule(str(users[0].target)))


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
    UsageError
        If the model cannot be traced, or behaves differently in training and in evaluation.
    """
    twin = deepcopy(root).train(not root.training)
    tracer, other = _Tracer(opened), _Tracer(opened)
    graph, opposite = _traced(tracer, root), _traced(other, twin)
    _follow_mode(root, graph, opposite)
    _drop_unused_shapes(graph)
    return Trace(root, graph, tracer.ends)


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
            return super().is_leaf_module(m, module_qualified_name)
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
        raise UsageError("model", type(root).__name__, problem, remedy) from error


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
        raise UsageError("model", type(root).__name__, problem, remedy)


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
        if not node.users and node.target in (getattr, operator.getitem, "size", "dim"):
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
            if not _is_frozen(tensor):
                found[id(tensor)] = str(node.target)
    return found


def named_weights(module: nn.Module, prefix: str = "") -> dict[int, str]:
    """Return identity and name of every trained weight and buffer of the module."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {id(tensor): f"{prefix}{name}" for name, tensor in tensors if not _is_frozen(tensor)}


def _is_frozen(tensor: Tensor) -> bool:
    """Return whether this is a frozen weight, of which both sides of a cut may have a copy."""
    return isinstance(tensor, nn.Parameter) and not tensor.requires_grad
