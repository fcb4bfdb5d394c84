"""What a traced model changes in place: a statement such as ``x.relu_()`` acts on later layers that data don't lead to.

A node that changes a value runs behind all earlier nodes that read it, and before all later ones: these are
dependencies beside those of the data. Views share their values with what they are a view of.
"""

from __future__ import annotations

import operator
from collections import defaultdict

from torch import nn
from torch.fx import Graph, Node

_NAMES = """
    chunk contiguous detach diagonal dropout expand expand_as flatten float getattr getitem movedim narrow permute ravel
    reshape select split squeeze swapaxes swapdims t to transpose type unbind unflatten unfold unsqueeze view view_as
"""

SHARING = frozenset(_NAMES.split())
"""Operations whose output may share its values with their first input."""

_LAYERS = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)
"""Layers whose output may do so."""


def order_of_changes(root: nn.Module, graph: Graph) -> dict[Node, set[Node]]:
    """Return, for each node of a traced model, earlier ones that must have run before it since a value is changed.

    Those are left out whose output the node takes anyway, unless they change a value.
    """
    held_in: dict[Node, Node] = {}
    changed_last: dict[Node, Node] = {}
    readers: defaultdict[Node, set[Node]] = defaultdict(set)
    before: defaultdict[Node, set[Node]] = defaultdict(set)
    for node in graph.nodes:
        target = changed_by(root, node)
        for source in () if is_size(node) else node.all_input_nodes:
            place = held_in[source]
            if place in changed_last:
                before[node].add(changed_last[place])
            readers[place].add(node)
        if target is not None:
            before[node] |= readers[held_in[target]] - {node}
            changed_last[held_in[target]] = node
        shares = target or (node.all_input_nodes[0] if node.all_input_nodes and _shares(root, node) else None)
        held_in[node] = node if shares is None or is_size(node) else held_in[shares]
    return dict(before)


def changed_by(root: nn.Module, node: Node) -> Node | None:
    """Return the value that a node changes in place, if it does."""
    if isinstance(node.kwargs.get("out"), Node):
        return node.kwargs["out"]  # type: ignore[return-value]
    changes = node.kwargs.get("inplace") is True
    if node.op == "call_module":
        layer = root.get_submodule(str(node.target))
        changes = type(layer).__module__.startswith("torch.nn.") and getattr(layer, "inplace", False) is True
    elif node.op in ("call_method", "call_function"):
        name = _name(node)
        changes |= name.endswith("_") and not name.endswith("__")
    return node.all_input_nodes[0] if changes and node.all_input_nodes else None


def is_size(node: Node) -> bool:
    """Return whether a value is the shape of a tensor, or a number of it."""
    if node.target is operator.getitem:
        return isinstance(node.args[0], Node) and is_size(node.args[0])
    return node.target in ("size", "dim") or (node.target is getattr and node.args[1] in ("shape", "ndim"))


def _shares(root: nn.Module, node: Node) -> bool:
    if node.op == "call_module":
        return isinstance(root.get_submodule(str(node.target)), _LAYERS)
    return node.op in ("call_method", "call_function") and _name(node) in SHARING


def _name(node: Node) -> str:
    if node.op not in ("call_method", "call_function"):
        return ""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
