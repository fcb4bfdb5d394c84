"""The tensors of a segment: its state, separate for every copy, and frozen weights, shared by all copies.

A weight is frozen if it does not require a gradient. It belongs to the architecture, not to a client: it has one
value for all clients, any dtype, no optimizer state, and is in no message, snapshot or average.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sglr.core.weights import Weights, state_of


def frozen_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's frozen weights by name."""
    return {name: tensor.detach() for name, tensor in module.named_parameters() if not tensor.requires_grad}


def load_state(module: nn.Module, tensors: Weights) -> None:
    """Copy tensors into the state or the frozen weights of a module, by name.

    Unlike ``load_state_dict``, this includes buffers that are not persistent.
    """
    own = {**state_of(module), **frozen_of(module)}
    for name, tensor in tensors.items():
        own[name].copy_(tensor)


def keep_frozen(module: nn.Module, device: torch.device) -> None:
    """Free a module's state, whose values are passed in later; its frozen weights go to ``device``.

    Shared weights stay shared.
    """
    moved: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}
    for layer in module.modules():
        for name, weight in [*layer._parameters.items()]:
            if weight is None:
                continue
            if id(weight) not in moved:
                where = torch.device("meta") if weight.requires_grad else device
                new = nn.Parameter(weight.detach().to(where), requires_grad=weight.requires_grad)
                moved[id(weight)] = (weight, new)
            # Recurrent layers keep a list of their weights, which assigning updates.
            setattr(layer, name, moved[id(weight)][1])
        for name, buffer in layer._buffers.items():
            layer._buffers[name] = None if buffer is None else buffer.to("meta")
