"""Which layers of a model get adapters, and which are trained whole."""

from __future__ import annotations

from collections.abc import Container
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from sglr.adapters.sides import parents
from sglr.adapters.spec import AUTO, EVERY_LINEAR, NONE, Lora
from sglr.core.errors import UsageError
from sglr.splitting.transformers import Transformer

_LANGUAGE_MODELS = ("ForCausalLM", "ForMaskedLM", "LMHeadModel")

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def layers_to_adapt(model: nn.Module, lora: Lora, whole: Container[str], here: Container[str]) -> list[str]:
    """Return the names of the layers that get adapters.

    Parameters
    ----------
    model
        The model.
    lora
        What the user wants.
    whole
        Names of modules that are trained whole.
    here
        Names of modules whose weights are of the party that gets adapters.

    Raises
    ------
    UsageError
        If a name is no layer's, or one of its layers can't be adapted.
    """
    modules = dict(model.named_modules())
    if lora.names:
        named = [name for target in lora.names for name in _named(modules, lora, "targets", target)]
        found = [name for name in named if name in here or not any(True for _ in modules[name].parameters(False))]
        if not found:
            problem = f"no layer called {' or '.join(lora.names)} is on the side that gets adapters (at={lora.at})"
            raise lora.error(problem, "cut elsewhere, name other layers, or give another at")
        for name in found:
            _refuse(modules, name, lora, whole)
        return list(dict.fromkeys(found))
    linear: tuple[type[nn.Module], ...] = (nn.Linear, *gpt2_linear())
    kinds = linear if lora.targets == EVERY_LINEAR else (*linear, *CONVOLUTIONS)
    able = [
        name
        for name, module in modules.items()
        if isinstance(module, kinds) and name in here and not _inside(name, whole) and not _why_not(modules, name, lora)
    ]
    if not able:
        problem = f"no layer on the side that gets adapters (at={lora.at}) can have adapters of rank {lora.r}"
        raise lora.error(problem, "give a smaller r, another at, or another cut")
    return able


def layers_to_train_whole(model: nn.Module, lora: Lora, example: Tensor) -> list[str]:
    """Return the names of the layers that are trained whole.

    By default it is the last layer that the model calls, which is mostly new; not where its weights are another
    layer's, too, or where it is a language model's of the package transformers, which was trained with the model.

    Raises
    ------
    UsageError
        If a name is no layer's, or the layer has no weights.
    """
    if lora.modules_to_save == NONE or (lora.modules_to_save == AUTO and _tells_tokens(model)):
        return []
    modules = dict(model.named_modules())
    if lora.modules_to_save == AUTO:
        last = _last_called(model, example)
        return [] if last is None or _is_tied(model, last) else [last]
    found = [name for target in lora.saved for name in _named(modules, lora, "modules_to_save", target)]
    for name in found:
        if not any(True for _ in modules[name].parameters()):
            raise lora.error(f"{name} has no weights that could be trained", "name another layer in modules_to_save")
    return found


def _named(modules: dict[str, nn.Module], lora: Lora, option: str, target: str) -> list[str]:
    """Return the modules that have this name, or a name that ends with it."""
    found = [name for name in modules if name == target or name.endswith(f".{target}")]
    if found:
        return found
    known = {name.rpartition(".")[2] for name in modules if name} | set(filter(None, modules))
    known = {name for name in known if not name.isdigit()} or known
    near = get_close_matches(target, known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    adaptable = [name for name in modules if isinstance(modules[name], (nn.Linear, *CONVOLUTIONS, *gpt2_linear()))]
    shown = ", ".join(dict.fromkeys(_short(name) for name in adaptable[:40]))
    raise lora.error(f"{option} names {target!r}, which no layer is called", f"{hint}layers: {shown or 'none'}")


def _short(name: str) -> str:
    last = name.rpartition(".")[2]
    return name if last.isdigit() else last


def _refuse(modules: dict[str, nn.Module], name: str, lora: Lora, whole: Container[str]) -> None:
    if _inside(name, whole):
        problem = f"{name} is trained whole (modules_to_save), and needs no adapter"
        raise lora.error(problem, "name it in targets or in modules_to_save only; modules_to_save=none is possible")
    why = _why_not(modules, name, lora)
    if why:
        size = _size(modules[name])
        smaller = f"give r={min(size)} or less, or " if size is not None and lora.r > min(size) else ""
        raise lora.error(f"{name} can't have an adapter: {why}", f"{smaller}leave it out of targets")


def _why_not(modules: dict[str, nn.Module], name: str, lora: Lora) -> str:
    """Return why a layer can't be adapted; empty if it can."""
    layer = modules[name]
    if isinstance(layer, nn.MultiheadAttention) or any(
        isinstance(modules[parent], nn.MultiheadAttention) for parent in parents(name)
    ):
        return "torch's MultiheadAttention computes with its weights without calling the layer"
    size = _size(layer)
    if size is None:
        inner = [part for part, module in layer.named_modules() if part and _size(module) is not None]
        kind = f"peft adapts linear layers, convolutions and embeddings, and this is a {type(layer).__name__}"
        return f"{kind}, with layers {', '.join(inner[:8])}" if inner else kind
    if lora.r > min(size):
        return f"its weights are {size[0]} x {size[1]}, and rank {lora.r} is more"
    if isinstance(layer, CONVOLUTIONS):
        if lora.r % layer.groups:
            return f"rank {lora.r} is no multiple of its {layer.groups} groups"
        if set(layer.dilation) != {1} or layer.padding_mode != "zeros":
            return "peft adapts no convolution with a dilation or other padding than zeros"
    return ""


def _size(layer: nn.Module) -> tuple[int, int] | None:
    """Return the sides of a layer's weights as a matrix; None if peft has no adapter for it."""
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    if isinstance(layer, nn.Embedding):
        return layer.num_embeddings, layer.embedding_dim
    if isinstance(layer, (*CONVOLUTIONS, *gpt2_linear())):
        weight = layer.weight
        assert isinstance(weight, Tensor)
        return len(weight), weight[0].numel()
    return None


def gpt2_linear() -> tuple[type[nn.Module], ...]:
    """Return the linear layer of GPT-2, if transformers is there."""
    import sys

    module = sys.modules.get("transformers.pytorch_utils")
    return () if module is None else (module.Conv1D,)


def _inside(name: str, whole: Container[str]) -> bool:
    return name in whole or any(parent in whole for parent in parents(name))


def _tells_tokens(model: nn.Module) -> bool:
    """Say whether this is a language model of the package transformers."""
    return isinstance(model, Transformer) and type(model.model).__name__.endswith(_LANGUAGE_MODELS)


def _last_called(model: nn.Module, example: Tensor) -> str | None:
    """Return the module with weights of its own that is called last in evaluation."""
    called: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in model.named_modules()
        if name and any(True for _ in module.parameters(recurse=False))
    ]
    training = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad(), torch.random.fork_rng([]):
            model.eval()(example)
    except Exception as error:  # a model may raise anything
        said = " ".join(str(error).split())
        problem = f"it does not take one input of shape {list(example.shape[1:])} ({said})"
        raise UsageError("model", type(model).__name__, problem, "build the model for this shape of input") from error
    finally:
        for hook in hooks:
            hook.remove()
        for module, before in training.items():
            module.training = before
    return called[-1] if called else None


def _is_tied(model: nn.Module, name: str) -> bool:
    own = {id(weight) for weight in model.get_submodule(name).parameters(recurse=False)}
    others = [module for other, module in model.named_modules() if other != name]
    return any(id(weight) in own for module in others for weight in module.parameters(recurse=False))
