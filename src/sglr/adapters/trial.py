"""Try adapters on two samples: each must be used, in training and in evaluation."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sglr.adapters.spec import Lora


def check_adapters(model: nn.Module, apply: Callable[[nn.Module], nn.Module], example: Tensor, lora: Lora) -> None:
    """Try adapters that are not zero in a copy of a model.

    Parameters
    ----------
    model
        The model without adapters, which stays as it is.
    apply
        Puts adapters into a model.
    example
        Two inputs ``[2, ...]``.
    lora
        What the user wants, for messages.

    Raises
    ------
    UsageError
        If a layer is never called, or the model computes otherwise in evaluation: torch's fast paths for attention
        read weights of layers that they don't call.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        trial = apply(copy.deepcopy(model)).eval()
        adapters = {name: weight for name, weight in trial.named_parameters() if ".lora_" in f".{name}"}
        with torch.no_grad():
            for weight in adapters.values():
                weight.normal_(std=0.02)
        with torch.enable_grad():
            outputs = _tensor(trial(example))
            total = outputs.float().square().sum()
        found = torch.autograd.grad(total, list(adapters.values()), allow_unused=True)
        with torch.no_grad():
            evaluated = _tensor(trial(example))
    unused = [name for name, gradient in zip(adapters, found, strict=True) if gradient is None]
    if unused:
        layer = unused[0].partition(".lora_")[0]
        problem = f"the model computes without calling {layer}, so that its adapter would never be trained"
        raise lora.error(problem, "leave it out of targets")
    if not torch.allclose(outputs, evaluated, rtol=1e-3, atol=1e-4, equal_nan=True):
        problem = "the model in evaluation reads weights of adapted layers without calling them"
        remedy = "call torch.backends.mha.set_fastpath_enabled(False) where it is built, or name other layers"
        raise lora.error(problem, remedy)


def _tensor(outputs: object) -> Tensor:
    """Return the first real tensor of what a model returns."""
    return next(each for each in tree_leaves(outputs) if isinstance(each, Tensor) and each.is_floating_point())
