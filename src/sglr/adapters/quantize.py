"""Round the frozen linear layers of a model to 8 or 4 bits (QLoRA's way, Dettmers et al., 2023, arXiv 2305.14314)."""

from __future__ import annotations

from torch import Tensor, nn

from sglr.adapters.rounded import ROUNDED
from sglr.adapters.sides import parents
from sglr.adapters.targets import gpt2_linear
from sglr.core.errors import UsageError


def quantize(model: nn.Module, kind: str) -> nn.Module:
    """Replace frozen linear layers of a model by ones in fewer bits, and return the model.

    Left as they are: layers with a trained weight, layers inside torch's MultiheadAttention, which reads their weights
    itself, and those whose weights are another layer's, too.

    Parameters
    ----------
    model
        The model, which is changed.
    kind
        ``"int8"`` or ``"nf4"``.

    Raises
    ------
    UsageError
        If no layer can be replaced.
    """
    modules = dict(model.named_modules())
    uses: dict[int, int] = {}
    for module in modules.values():
        for weight in module._parameters.values():
            if weight is not None:
                uses[id(weight)] = uses.get(id(weight), 0) + 1
    chosen = [name for name, module in modules.items() if name and _can_be(name, module, modules, uses)]
    if not chosen:
        problem = "the model has no frozen linear layer, and nothing that is trained is rounded"
        raise UsageError("quantize", kind, problem, "freeze layers (--freeze LAYER), give --lora, or leave it out")
    for name in chosen:
        layer = modules[name]
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor)
        assert bias is None or isinstance(bias, Tensor)
        stored = weight.mT if isinstance(layer, gpt2_linear()) else weight
        rounded = ROUNDED[kind](stored, bias)
        rounded.training = layer.training
        holder, _, own = name.rpartition(".")
        setattr(model.get_submodule(holder), own, rounded)
    return model


def _can_be(name: str, module: nn.Module, modules: dict[str, nn.Module], uses: dict[int, int]) -> bool:
    if not isinstance(module, (nn.Linear, *gpt2_linear())):
        return False
    weights = list(module.parameters(recurse=False))
    alone = all(not weight.requires_grad and uses[id(weight)] == 1 for weight in weights)
    real = all(weight.is_floating_point() for weight in weights)
    return alone and real and not any(isinstance(modules[parent], nn.MultiheadAttention) for parent in parents(name))
