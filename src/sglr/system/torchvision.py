"""torchvision beside any build of torch, for those who import it: torchmetrics does where it is installed.

The wheel on PyPI is built for CUDA. Beside a torch for CPUs its C++ operators don't load, and the import fails at two
that are not declared. Neither torchmetrics nor transforms of pictures call them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

_STAND_INS: list[Any] = []
"""Declarations of operators, which last as long as they are kept."""


def load_torchvision() -> None:
    """Import torchvision, if it is installed, with the operators declared that it lacks.

    Raises
    ------
    RuntimeError, ImportError
        If it does not load beside this torch for another reason.
    """
    if "torchvision" in sys.modules or find_spec("torchvision") is None:
        return
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _STAND_INS.append(library)
        import_module("torchvision")
