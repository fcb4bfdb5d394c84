"""Cut a model behind a layer: by the number of a child, the name of a submodule or a node of the ``torch.fx`` graph."""

from __future__ import annotations

from copy import deepcopy
from difflib import get_close_matches

from torch import Tensor, nn
from torch.fx import Node

from sglr.core.errors import UsageError
from sglr.splitting.boundary import boundaries, cut_at_boundary
from sglr.splitting.check import Split
from sglr.splitting.fit import fitted
from sglr.splitting.graph import (
    Trace,
    UntraceableError,
    is_traced,
    named_weights,
    shared_weights,
    trace,
    trace_children,
)
from sglr.splitting.same_output import require_same_output
from sglr.splitting.sequence import (
    around,
    child_before,
    cut_sequence,
    is_plain,
    leave_input,
    runs_in_sequence,
)
from sglr.splitting.several_inputs import hand_on_layout
from sglr.splitting.transformers import Transformer


def split(module: nn.Module, at: int | str, example: Tensor | None = None) -> Split:
    """Cut ``module`` in two; both segments are copies that share nothing with it or with each other.

    Where several values cross, as skip connections or masks do, the lower segment packs them in a row for each sample,
    which the upper one unpacks: see `sglr.splitting.crossing`.

    Parameters
    ----------
    module
        Any module that takes one input.
    at
        Where to cut: the number of children that an ``nn.Sequential`` leaves to the client (negative as in
        slices), the name of the client's last layer (a submodule, such as ``"layer2"`` or ``"features.3"``,
        or a node of the module's ``torch.fx`` graph, such as ``"relu_1"``), or ``""`` or ``"output"`` to cut
        behind the last layer, which leaves the server ``nn.Identity``.
    example
        Inputs [b, ...], b >= 2, to run through both segments before returning them. Without it the segments are raw:
        what the lower one returns, a tuple where several values cross, the upper one takes; and a model that torch.fx
        can't trace is not cut, since that takes a trial (`sglr.splitting.boundary`).

    Raises
    ------
    UsageError
        If the place does not exist, a value that can't be sent crosses the cut, a trained weight is used on
        both sides, the model cannot be traced, the example does not fit, or with it the segments don't give the
        model's output.
    """
    segments = raw_split(module, at, example)
    return segments if example is None else fitted(segments, example)


def raw_split(module: nn.Module, at: int | str, example: Tensor | None = None) -> Split:
    """Cut a model as `split` does, and leave what crosses as it is; only models that can't be traced need an example.

    Raises
    ------
    UsageError
        As `split` does.
    """
    try:
        lower, upper = _cut(deepcopy(module), at)
    except UntraceableError:
        if example is None:
            raise
        lower, upper = cut_at_boundary(module, str(at), example)
    _reject_shared_weights(at, lower, upper)
    # Copied separately, because a layer without weights may be used in both.
    segments = Split(deepcopy(lower), deepcopy(upper))
    if example is not None and is_traced(lower):
        require_same_output(module, Split(lower, upper), at, example)
    leave_input(segments.upper)
    hand_on_layout(module, segments.lower)
    return segments


def cut_points(module: nn.Module, example: Tensor | None = None) -> list[str]:
    """Return the names of layers behind which one tensor crosses, in the order of execution.

    `sglr.splitting.places.every_cut` has all others, too. These are the children of the module and of its children that
    are plain ``nn.Sequential``. Where several end together, the outermost is named. The list is empty if ``torch.fx``
    cannot trace the module.
    """
    if isinstance(module, Transformer):
        return module.cut_points()
    try:
        traced = trace_children(module)
    except UntraceableError:
        return [] if example is None else boundaries(module, example)
    return list(_places(traced).values())


def _cut(root: nn.Module, at: int | str) -> tuple[nn.Module, nn.Module]:
    if at == "" or (at == "output" and not _has(root, "output")):
        return root, nn.Identity().train(root.training)
    if isinstance(root, Transformer):
        return root.cut_behind(at)
    name = child_before(root, at) if isinstance(at, int) else at
    if not _has(root, name):
        return _cut_at_node(root, name)
    return cut_sequence(root, name) if runs_in_sequence(root, name) else _cut_at_submodule(root, name)


def _cut_at_submodule(root: nn.Module, name: str) -> tuple[nn.Module, nn.Module]:
    module = root.get_submodule(name)
    aliases = [path for path, each in root.named_modules(remove_duplicate=False) if each is module]
    containers = {root.get_submodule(path) for alias in aliases for path in around(alias)}

    def opened(path: str) -> bool:
        each = root.get_submodule(path)
        return each in containers or is_plain(each)

    traced = trace(root, opened)
    registered = {module: path for path, module in root.named_modules()}[root.get_submodule(name)]
    if type(root.get_submodule(name)) is nn.Module:
        # Where the model was cut before, this holds the layers, and nobody calls it.
        inside = [layer for layer in traced.ends if layer.startswith(f"{registered}.")]
        registered = inside[-1] if inside else registered
    if registered not in traced.ends:
        points = ", ".join(_places(traced).values())
        raise UsageError("cut", name, "the model never calls this layer directly", f"cut behind one of: {points}")
    return traced.segments(traced.ends[registered])


def _cut_at_node(root: nn.Module, name: str) -> tuple[nn.Module, nn.Module]:
    try:
        traced = trace(deepcopy(root))
    except UsageError:
        raise _no_such_layer(root, name, []) from None
    nodes = {node.name: node for node in traced.graph.nodes if node.op not in ("placeholder", "get_attr", "output")}
    if name not in nodes:
        raise _no_such_layer(root, name, list(nodes))
    return traced.segments(nodes[name])


def _no_such_layer(root: nn.Module, name: str, nodes: list[str]) -> UsageError:
    layers = [path for path, _ in root.named_modules() if path]
    nearest = get_close_matches(name, [*layers, *nodes], n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    places = cut_points(root) or [child for child, _ in root.named_children()]
    return UsageError("cut", name, "the model has no such layer", f"{hint}places to cut: {', '.join(places)}")


def _places(traced: Trace) -> dict[Node, str]:
    """Return where the traced model can be cut, in the order of execution, with the shortest name of each."""
    names: dict[Node, str] = {}
    for name, node in traced.ends.items():
        names[node] = min(name, names.get(node, name), key=len)
    return {node: names[node] for node in traced.graph.nodes if node in names and _can_cut(traced, node)}


def _can_cut(traced: Trace, cut: Node) -> bool:
    return len(traced.tensors(cut)) == 1 and not traced.shares_weights(cut)


def _reject_shared_weights(at: int | str, lower: nn.Module, upper: nn.Module) -> None:
    below, above = named_weights(lower), named_weights(upper)
    shared = sorted(f"{below[key]} (behind the cut as {above[key]})" for key in below.keys() & above.keys())
    if shared:
        more = "leave embedding and head with the client, such as --tail -1" if isinstance(lower, Transformer) else ""
        raise shared_weights(at, shared, more)


def _has(root: nn.Module, name: str) -> bool:
    return name in dict(root.named_modules(remove_duplicate=False)) and name != ""
