"""torchvision beside any build of torch, for those who import it: torchmetrics, timm and transformers do.

PyPI's torchvision has compiled operators for torch's CUDA build. Beside the CPU build they don't load, and importing
torchvision raises "operator torchvision::nms does not exist", though its networks need none of these operators. So
they are declared here, without code, where that happens; detection alone would miss them.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from typing import Any

import torch

from sglr.system.extras import is_installed

_OPERATORS = ("nms", "qnms")
"""Operators that torchvision mentions when it is imported, whether they loaded or not."""
_MISSING = "operator torchvision::"


def load_torchvision() -> None:
    """Import torchvision, if it is installed, with the operators declared that it lacks.

    Raises
    ------
    RuntimeError, ImportError
        If it does not load beside this torch for another reason.
    """
    if "torchvision" in sys.modules or not is_installed("torchvision"):
        return
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declared()
        import_module("torchvision")


@cache
def _declared() -> Any:
    """Return the declarations, which last as long as they are kept."""
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in _OPERATORS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
