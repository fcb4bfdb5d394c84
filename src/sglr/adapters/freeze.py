"""The setting ``freeze``: layers of a model that stay as they are, such as the first ones of a pretrained network."""

from __future__ import annotations

import copy
from difflib import get_close_matches

from torch import Tensor, nn

from sglr.adapters.constants import constant_buffers, freeze_buffers, freeze_statistics
from sglr.core.errors import UsageError
from sglr.splitting.transformers import Transformer


def frozen_layers(model: nn.Module, names: str | None, example: Tensor) -> nn.Module:
    """Freeze layers of a model, and return it.

    Their weights are not trained, batch normalisations in them use their running statistics in training, too, and
    buffers that a pass leaves as they are belong to the frozen network.

    Parameters
    ----------
    model
        The model; it is changed.
    names
        Names of its layers joined by ``+``, as the model's own code names them; each with all that is in it. None
        for none.
    example
        Inputs ``[b, ...]``, b >= 2.

    Raises
    ------
    UsageError
        If a name is no layer's, or a layer has no weights.
    """
    if names is None:
        return model
    modules = dict(model.named_modules())
    wanted = [name.strip() for name in names.split("+") if name.strip()]
    if not wanted:
        raise UsageError("freeze", names, "names no layer", "give names of layers joined by +, or leave it out")
    found = [_named(modules, name, names, model) for name in wanted]
    for name in found:
        modules[name].requires_grad_(False)
        freeze_statistics(list(modules[name].modules()))
    inside = tuple(f"{name}." for name in found)
    constant = constant_buffers(copy.deepcopy(model), example)
    freeze_buffers(model, [name for name in constant if name.startswith(inside)])
    return model


def _named(modules: dict[str, nn.Module], name: str, names: str, model: nn.Module) -> str:
    """Return the name of a layer in full; that of a transformer may go without ``model.``."""
    full = f"model.{name}" if isinstance(model, Transformer) and f"model.{name}" in modules else name
    if not full or full not in modules:
        near = get_close_matches(name, filter(None, modules), n=3, cutoff=0.4)
        children = ", ".join(child for child, _ in model.named_children())
        hint = f"did you mean {', '.join(near)}? " if near else ""
        problem = f"no layer is called {name!r}"
        raise UsageError("freeze", names, problem, f"{hint}the model's own layers: {children or 'none'}")
    if not any(True for _ in modules[full].parameters()):
        raise UsageError("freeze", names, f"{name} has no weights", "leave it out")
    return full
