"""Cut nested ``nn.Sequential`` containers between two children, without tracing."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from sglr.core.errors import UsageError
from sglr.splitting.several_inputs import HELD


def is_plain(module: nn.Module) -> bool:
    """Return whether the module only calls its children in order."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def child_before(root: nn.Module, index: int) -> str:
    """Return the name of the last child before the cut at ``index``.

    Raises
    ------
    UsageError
        If the module is not a Sequential, there is no such child, or the lower segment would be empty.
    """
    if not (is_plain(root) or (isinstance(root, nn.Sequential) and HELD in vars(root))):
        problem = f"a number can only cut an nn.Sequential, but this model is a {type(root).__name__}"
        raise UsageError("cut", index, problem, "name the client's last layer instead")
    names = list(root._modules)
    end = index + len(names) if index < 0 else index
    if not 1 <= end <= len(names):
        problem = "the client's segment would be empty" if end == 0 else f"the model has {len(names)} children"
        raise UsageError("cut", index, problem, f"choose a number from 1 to {len(names)}")
    return names[end - 1]


def around(name: str) -> list[str]:
    """Return the names of all modules that contain the submodule ``name``, outermost (the root, ``""``) first."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts))]


def runs_in_sequence(root: nn.Module, name: str) -> bool:
    """Return whether every module that contains the submodule ``name`` is a plain Sequential."""
    return all(is_plain(root.get_submodule(path)) for path in around(name))


def cut_sequence(root: nn.Module, name: str) -> tuple[nn.Module, nn.Module]:
    """Return the parts of ``root`` up to and behind its submodule ``name``, under the original names."""
    head, _, rest = name.partition(".")
    names = list(root._modules)
    at = names.index(head)
    lower, upper = _children(root, names[: at + 1]), _children(root, names[at + 1 :])
    if rest:
        lower[head], behind = cut_sequence(root.get_submodule(head), rest)
        if not isinstance(behind, nn.Identity):
            upper = OrderedDict([(head, behind), *upper.items()])
    segments = nn.Sequential(lower), nn.Sequential(upper) if upper else nn.Identity()
    for segment in segments:
        segment.training = root.training
    return segments


def leave_input(segment: nn.Module) -> None:
    """Keep the first layer from changing its input in place, which autograd forbids for smashed data."""
    first = segment
    while is_plain(first) and len(first._modules):
        first = next(first.children())
    if isinstance(getattr(first, "inplace", None), bool):
        setattr(first, "inplace", False)  # noqa: B010 - nn.Module does not declare it


def _children(root: nn.Module, names: list[str]) -> OrderedDict[str, nn.Module]:
    return OrderedDict((name, root.get_submodule(name)) for name in names)
