"""Put adapters into a model and freeze the rest, before it is cut.

``peft.inject_adapter_in_model`` replaces each layer by one that holds it and its adapter. What is frozen then belongs
to the architecture, as any frozen weight: adapters alone are optimized, stored, sent, averaged and hashed.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sglr.adapters.constants import constant_buffers, freeze_buffers, freeze_statistics
from sglr.adapters.rounded import RoundedLinear
from sglr.adapters.sent_layers import register
from sglr.adapters.sides import names_in_segments, names_of_sides
from sglr.adapters.spec import Lora
from sglr.adapters.targets import gpt2_linear, layers_to_adapt, layers_to_train_whole
from sglr.adapters.trial import check_adapters
from sglr.core.weights import Weights
from sglr.splitting import Split
from sglr.system.extras import optional

ADAPTER = ".lora_"
"""What the name of every weight of an adapter contains."""


@dataclass(frozen=True)
class AdaptedModel:
    """A model that adapters were trained in.

    Parameters
    ----------
    base
        The model without adapters, with its frozen weights.
    layers
        Names of the layers with adapters.
    client_names, server_names
        Names in the whole model of each weight of a client's and of the server's segment, by its name there.
    """

    base: nn.Module
    layers: tuple[str, ...]
    client_names: Mapping[str, Sequence[str]]
    server_names: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class AdapterPlan:
    """Where adapters go in models of one architecture.

    Parameters
    ----------
    lora
        What the user wants.
    layers
        Names of the layers that get adapters.
    whole
        Names of the modules that are trained whole.
    frozen
        Names of the weights and buffers that are frozen.
    constants
        Names of buffers of the model with adapters that become frozen weights.
    """

    lora: Lora
    layers: tuple[str, ...]
    whole: tuple[str, ...]
    frozen: frozenset[str]
    constants: tuple[str, ...] = ()

    def apply(self, model: nn.Module) -> nn.Module:
        """Put adapters into a model, with first weights from torch's generator, freeze the rest, and return it."""
        own = dict(model.named_parameters(remove_duplicate=False))
        kept = [weight for name, weight in own.items() if name not in self.frozen and weight.requires_grad]
        modules = [module for name, module in model.named_modules() if self._is_frozen(name, module)]
        inject(model, self.lora, self.layers)
        for weight in kept:
            weight.requires_grad_()
        freeze_statistics(modules)
        freeze_buffers(model, self.constants)
        return model

    def _is_frozen(self, name: str, module: nn.Module) -> bool:
        """Say whether all that a module holds itself is frozen."""
        own = [*module._parameters, *module._buffers]
        return all((f"{name}.{each}" if name else each) in self.frozen for each in own)


def adapted_model(
    base: nn.Module, adapted: nn.Module, plan: AdapterPlan, frozen: Weights, divide: Callable[[nn.Module], Split]
) -> AdaptedModel:
    """Return a model that adapters were trained in.

    Parameters
    ----------
    base, adapted
        The model without adapters, which takes the frozen weights, and with them; what is rounded in one is whole in
        the other, with the rounded values.
    plan
        Where the adapters are.
    frozen
        The frozen weights, named as in the adapted model.
    divide
        Cuts the adapted model: returns all that a client holds, and the server's segment.
    """
    own = dict(_tensors(base))
    with torch.no_grad():
        for name, tensor in frozen.items():
            place = name.replace(".base_layer.", ".")
            if place in own:
                own[place].copy_(tensor)
        for name, layer in adapted.named_modules():
            if isinstance(layer, RoundedLinear):
                place = name.removesuffix(".base_layer")
                turned = isinstance(base.get_submodule(place), gpt2_linear())
                own[f"{place}.weight"].copy_(layer.weight.mT if turned else layer.weight)
    client, server = names_in_segments(adapted, divide)
    return AdaptedModel(base, plan.layers, client, server)


def inject(model: nn.Module, lora: Lora, layers: Collection[str]) -> None:
    """Replace layers of a model by ones with adapters; peft freezes all other weights."""
    config = lora_config(model, lora, layers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about merging, which is not done
        load_peft(lora).inject_adapter_in_model(config, model)
    # The model's segments would take it along.
    del model.peft_config


def load_peft(lora: Lora) -> Any:
    """Import peft, and let its layers be sent to other processes."""
    peft = optional("peft", "lora", "lora", lora.text)
    register(peft)
    return peft


def lora_config(
    model: nn.Module, lora: Lora, layers: Collection[str], whole: Collection[str] = (), base: str | None = None
) -> Any:
    """Return peft's own description of the adapters.

    Parameters
    ----------
    model
        The model without adapters.
    lora
        What the user wants.
    layers, whole
        Names of the layers with adapters, and of those that are trained whole.
    base
        The name of the model that they belong to, if it is one of the Hugging Face hub.
    """
    alpha = int(lora.alpha) if float(lora.alpha).is_integer() else lora.alpha
    return load_peft(lora).LoraConfig(
        r=lora.r,
        lora_alpha=alpha,
        lora_dropout=lora.dropout,
        target_modules=_exactly(model, layers),
        modules_to_save=sorted(whole) or None,
        base_model_name_or_path=base,
    )


def _exactly(model: nn.Module, layers: Collection[str]) -> list[str] | str:
    """Return what makes peft adapt these layers alone: their names, or a pattern where it would take them for ends."""
    ends = tuple(f".{layer}" for layer in layers)
    others = any(name.endswith(ends) for name, _ in model.named_modules() if name not in layers)
    return f"({'|'.join(map(re.escape, sorted(layers)))})" if others else sorted(layers)


def plan_adapters(
    model: nn.Module,
    lora: Lora,
    example: Tensor,
    divide: Callable[[nn.Module], Split],
    *,
    whole_model: bool = False,
) -> AdapterPlan:
    """Choose the layers of a model that get adapters, and try them.

    Parameters
    ----------
    model
        A model without adapters, which stays as it is.
    lora
        What the user wants.
    example
        Two inputs ``[2, ...]`` of the model.
    divide
        Cuts it: returns all that a client holds, and the server's segment.
    whole_model
        True if clients hold all of it.

    Raises
    ------
    UsageError
        If the setting does not fit the model, or the model reads weights of a layer without calling it.
    """
    everything = frozenset(name for name, _ in _tensors(model))
    mine = everything
    if lora.at == "server" and whole_model:
        problem = "clients of this method hold the whole model, and the server has no layers"
        raise lora.error(problem, "give at=clients")
    if lora.at != "both":
        clients, server = names_of_sides(model, divide)
        mine = frozenset(everything - (server if lora.at == "clients" else clients))
    whole = layers_to_train_whole(model, lora, example)
    here = {name for name, module in model.named_modules() if _holds(name, module, mine)}
    layers = layers_to_adapt(model, lora, set(whole), here)
    frozen = frozenset(name for name in mine if not any(name.startswith(f"{each}.") for each in whole))
    plan = AdapterPlan(lora, tuple(layers), tuple(whole), frozen)
    trial = plan.apply(copy.deepcopy(model))
    # Adapters have no buffers, and what trains whole keeps its own.
    own = [name for name in constant_buffers(trial, example) if name.replace(".base_layer.", ".") in frozen]
    plan = replace(plan, constants=tuple(own))
    check_adapters(model, plan.apply, example, lora)
    return plan


def require_adapters(lora: Lora, clients: Collection[str], server: Collection[str] | None) -> None:
    """Refuse adapters that leave a party without anything to train, or are not where they were asked for.

    Parameters
    ----------
    lora
        What the user wants.
    clients, server
        Names of the trained weights of a client and of the server; None where the server has no layers.

    Raises
    ------
    UsageError
        If a party has no adapters that were asked for at it, or nothing to train.
    """
    for party, names in (("clients", clients), ("server", server)):
        if names is None or lora.at not in (party, "both"):
            continue
        adapted = any(ADAPTER in f".{name}" for name in names)
        if not names or (lora.at == party and not adapted):
            whose = "the clients' segment" if party == "clients" else "the server's segment"
            other = "server" if party == "clients" else "clients"
            problem = f"no layer with an adapter is in {whose}, so that nothing of it would be trained"
            raise lora.error(problem, f"cut elsewhere, name layers of it in targets, or give at={other}")


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]


def _holds(name: str, module: nn.Module, names: frozenset[str]) -> bool:
    own = [f"{name}.{each}" if name else each for each in module._parameters if module._parameters[each] is not None]
    return bool(own) and names.issuperset(own)
