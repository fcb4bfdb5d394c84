"""Frozen layers, low-rank adapters (LoRA) in a model that stays frozen, and frozen layers in fewer bits."""

from __future__ import annotations

from sglr.adapters.inject import (
    ADAPTER,
    AdaptedModel,
    AdapterPlan,
    adapted_model,
    load_peft,
    lora_config,
    plan_adapters,
    require_adapters,
)
from sglr.adapters.quantize import quantize
from sglr.adapters.spec import Lora

__all__ = [
    "ADAPTER",
    "AdaptedModel",
    "AdapterPlan",
    "Lora",
    "adapted_model",
    "load_peft",
    "lora_config",
    "plan_adapters",
    "quantize",
    "require_adapters",
]
