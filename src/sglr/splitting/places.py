"""Every place where a model can be cut, with the values that cross there."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.fx import Node

from sglr.splitting.boundary import boundaries
from sglr.splitting.graph import UntraceableError, trace_deep
from sglr.splitting.transformers import Transformer


class Place(NamedTuple):
    """A place where a model can be cut.

    Parameters
    ----------
    layer
        The client's last layer, as `sglr.splitting.cut.split` takes it.
    crossing
        Names of the tensors that cross, that of the layer first, where it does: one where a single tensor crosses.
    """

    layer: str
    crossing: tuple[str, ...]


def every_cut(module: nn.Module, example: Tensor | None = None) -> list[Place]:
    """Return every layer that ``split`` can cut behind, in the order of execution.

    These are all submodules that the model calls, however deep, unless trained weights would be on both sides. Where
    several end together, the one with the shortest name is named. Values can still be refused when a sample shows what
    they are: ``split`` with an example says so. If ``torch.fx`` can't trace the model, they are those that are found by
    trials on an ``example`` ``[b, ...]`` (`sglr.splitting.boundary`); without one the list is empty.
    """
    if isinstance(module, Transformer):
        return [Place(layer, (layer,)) for layer in module.cut_points()]
    try:
        traced = trace_deep(module)
    except UntraceableError:
        return [] if example is None else [Place(layer, (layer,)) for layer in boundaries(module, example)]
    names: dict[Node, str] = {}
    for name, node in traced.ends.items():
        names[node] = min(name, names.get(node, name), key=len)
    found = [node for node in traced.graph.nodes if node in names and not traced.shares_weights(node)]
    return [Place(names[node], tuple(names.get(value, value.name) for value in traced.tensors(node))) for node in found]
