"""Change what a module does in its forward pass, and keep the names of its layers."""

from __future__ import annotations

from torch import nn

_CLASSES: dict[tuple[type[nn.Module], type[nn.Module]], type[nn.Module]] = {}


def derive(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """Make a module one of a class that has the forward pass of ``kind``, which calls the module's own; return it.

    Modules of one class become modules of one class, so that those of several clients can be stacked.
    """
    own = type(module)
    if (own, kind) not in _CLASSES:
        _CLASSES[own, kind] = type(own.__name__, (kind, own), {"__module__": own.__module__, "__doc__": own.__doc__})
    module.__class__ = _CLASSES[own, kind]
    return module
